"""ImageNet's classes: every name leads to its class, the known numbers are right, ambiguous names are reported."""

import pytest

from kiloword.published.imagenet import class_id, class_name

SEVERAL = {  # names of more than one class
    "sand viper": (54, 66), "grass snake": (55, 57), "partridge": (82, 86), "crawfish": (123, 124),
    "crayfish": (123, 124), "crane": (134, 517), "cardigan": (264, 474), "catamount": (286, 287),
    "panther": (286, 290), "Sus scrofa": (341, 342), "polecat": (358, 361), "panda": (387, 388), "tub": (435, 876),
    "wagon": (436, 734), "gong": (494, 577), "horn": (513, 566), "harp": (593, 594), "maillot": (638, 639),
    "missile": (657, 744),
}  # fmt: skip


def bare(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "tench"),
        (1, "goldfish"),
        (88, "macaw"),
        (207, "golden retriever"),
        (281, "tabby"),
        (985, "daisy"),
        (980, "volcano"),
        (999, "toilet tissue"),
        (388, "giant panda"),
        (279, "Arctic fox"),
        (417, "balloon"),
    ],
)
def test_well_known_numbers(number, name):
    assert class_id(name) == number and class_name(number).split(", ")[0] == name


@pytest.mark.parametrize(
    "name",
    [207, "207", " 207 ", "+207", "golden retriever", "Golden  Retriever", "goldenretriever", "GOLDEN_RETRIEVER\n"],
)
def test_numbers_and_spellings(name):
    assert class_id(name) == 207


def test_every_name_of_every_class_leads_to_it_or_is_said_to_be_doubtful():
    doubtful = {bare(name): numbers for name, numbers in SEVERAL.items()}
    for number in range(1000):
        for name in (class_name(number), *class_name(number).split(", ")):
            assert name == name.strip() != ""
            if bare(name) in doubtful:
                assert number in doubtful[bare(name)]
            else:
                assert class_id(name) == class_id(name.upper().replace(" ", "")) == number


@pytest.mark.parametrize("name", SEVERAL)
def test_names_of_several_classes_are_told_with_their_numbers(name):
    first, second = SEVERAL[name]
    with pytest.raises(ValueError, match=rf"several ImageNet classes: ask for {first} \(.* or {second} \(.* by number"):
        class_id(name)


def test_all_names_together_tell_them_apart():
    assert class_id("maillot, tank suit") == 639 and class_id("projectile, missile") == 744


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("golden retreiver", r"near are 207 \(golden retriever\)"),
        ("volcanoe", "980"),
        ("", "give its number"),
        ("qqqqxyz", "give its number"),
        ("x" * 5000, r"x\.\.\.'"),
        ("9" * 5000, r"9\.\.\.'"),
        ("two\nlines", "no ImageNet class"),
    ],
)
def test_unknown_names_bring_near_ones(name, near):
    with pytest.raises(ValueError, match=near) as raised:
        class_id(name)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.parametrize("number", [-1, 1000, "1000", "-1", 10**8])
def test_numbers_outside(number):
    with pytest.raises(ValueError, match="0 to 999, not"):
        class_id(number)
    with pytest.raises(ValueError, match="0 to 999, not"):
        class_name(int(number))
