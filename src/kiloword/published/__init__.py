"""One page per published system: its parts, files, names, defaults, licence, and the numbers its authors report."""

from importlib import import_module

from kiloword.nearest import did_you_mean
from kiloword.published.page import Figure, File, Page, Preparation, Source, Variant

__all__ = ["Figure", "File", "Page", "Preparation", "Source", "Variant", "names", "page"]

# name -> module that holds PAGE
PAGES = {
    "chameleon-vqgan": "chameleon",
    "dalle-dvae": "dalle_dvae",
    "igpt": "igpt",
    "igpt-palette": "igpt_palette",
    "infinity": "infinity",
    "infinity-vae": "infinity_vae",
    "liquid": "liquid",
    "llamagen": "llamagen",
    "llamagen-vq": "llamagen_vq",
    "mar": "mar",
    "mar-kl16": "mar_kl16",
    "metamorph": "metamorph_generator",
    "metamorph-features": "metamorph",
    "unitok": "unitok",
    "unitok-llamagen": "unitok_generators",
    "var": "var",
    "var-vae": "var_vae",
}


def names() -> list[str]:
    """All pages."""
    return sorted(PAGES)


def page(name: str) -> Page:
    """The page of that name. Raises ValueError, suggesting a near one, if there is none."""
    if name not in PAGES:
        hint = did_you_mean(name, PAGES)
        raise ValueError(f"there is no published system {name!r}{hint} (known: {', '.join(names())})")
    return import_module(f"kiloword.published.{PAGES[name]}").PAGE


def variant(name: str) -> tuple[Page, str]:
    """The page and the variant of "page" (its first variant) or "page/variant"."""
    first, _, second = name.partition("/")
    found = page(first)
    chosen = second or next(iter(found.variants))
    if chosen not in found.variants:
        raise ValueError(f"{first} has no variant {chosen!r}: there are {', '.join(found.variants)}")
    return found, chosen
