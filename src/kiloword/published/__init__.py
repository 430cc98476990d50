"""One page per published system: its parts, its files, its names and how to check it against its authors' own code."""

from importlib import import_module

from kiloword.nearest import did_you_mean
from kiloword.published.page import Figure, File, From, Page, Preparation, Record, Stages, Variant

__all__ = ["Figure", "File", "From", "Page", "Preparation", "Record", "Stages", "Variant", "names", "page", "recorded"]

# name -> module that holds PAGE, and the first letters of the recordings that concern it
PAGES = {
    "chameleon-vqgan": ("chameleon", ("chameleon_vqgan",)),
    "dalle-dvae": ("dalle_dvae", ("dalle_dvae",)),
    "igpt": ("igpt", ("igpt_",)),
    "igpt-palette": ("igpt_palette", ("igpt_",)),
    "infinity": ("infinity", ("infinity_transformer",)),
    "infinity-vae": ("infinity_vae", ("infinity_bsq_vae",)),
    "liquid": ("liquid", ("liquid",)),
    "llamagen": ("llamagen", ("llamagen_c2i", "llamagen_t2i")),
    "llamagen-vq": ("llamagen_vq", ("llamagen_vq",)),
    "mar": ("mar", ("mar",)),
    "mar-kl16": ("mar_kl16", ("mar_kl16",)),
    "metamorph": ("metamorph_generator", ()),
    "metamorph-features": ("metamorph", ()),
    "unitok": ("unitok", ("unitok_tokenizer",)),
    "unitok-llamagen": ("unitok_generators", ()),
    "var": ("var", ("var_transformer",)),
    "var-vae": ("var_vae", ("var_vqvae", "var_quantizer")),
}


def names() -> list[str]:
    """All pages."""
    return sorted(PAGES)


def page(name: str) -> Page:
    """The page of that name. Raises ValueError, suggesting a near one, if there is none."""
    if name not in PAGES:
        hint = did_you_mean(name, PAGES)
        raise ValueError(f"there is no published system {name!r}{hint} (known: {', '.join(names())})")
    return import_module(f"kiloword.published.{PAGES[name][0]}").PAGE


def variant(name: str) -> tuple[Page, str]:
    """The page and the variant of "page" (its first variant) or "page/variant"."""
    first, _, second = name.partition("/")
    found = page(first)
    chosen = second or next(iter(found.variants))
    if chosen not in found.variants:
        raise ValueError(f"{first} has no variant {chosen!r}: there are {', '.join(found.variants)}")
    return found, chosen


def recorded(name: str) -> list[Page]:
    """The pages that a recording of that name concerns: those whose first letters fit it furthest."""
    fits = {
        known: max((len(prefix) for prefix in prefixes if name.startswith(prefix)), default=0)
        for known, (_, prefixes) in PAGES.items()
    }
    return [page(known) for known, length in fits.items() if length and length == max(fits.values())]
