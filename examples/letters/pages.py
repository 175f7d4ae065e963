"""The pages that the demo reads: letters as a scanner would deliver them, a photographed page, and one broken file.

Nothing is downloaded and nothing written: the photograph and the faces come out of installed packages, the rest is
drawn. Page number n is the same for every count, and every seed gives its own letters.
"""

import io
import unicodedata
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from letters.texts import UNSPACED, Letter, compose, languages


@dataclass(frozen=True)
class Page:
    """One page image and what is known about it."""

    name: str
    language: str
    text: str | None
    """The true text, line by line; None if nobody knows it."""
    png: bytes = field(repr=False)
    clean: bool
    """Nothing disturbs this image: it is to be read right. A noisy, blurred, faded or broken one is not clean."""
    corrupt: bool = False
    """The bytes are broken on purpose: no picture comes out of ``png``, only out of ``repaired``."""
    repaired: bytes | None = field(default=None, repr=False)


def make_pages(count: int = 24, seed: int = 1815) -> list[Page]:
    """That many pages: mostly clean letters, every fourth disturbed, the third a photograph, the sixth corrupt."""
    return [_make_page(number, seed) for number in range(1, count + 1)]


_PHOTOGRAPH, _CORRUPT = 3, 6


def _make_page(number: int, seed: int) -> Page:
    if number == _PHOTOGRAPH:
        return _photographed_page(number)
    choice = Random(f"{seed}/{number}")
    language = _language(number)
    condition = _condition(number, language)
    image, text = _draw(compose(language, choice), handwritten=condition is _HANDWRITTEN, choice=choice)
    png = _png(_scan(image, condition, choice))
    name = f"{number:02d}-{language}-{condition.name}"
    if number == _CORRUPT:
        # Cut off in the middle, as by a copy that was interrupted: the header still says that all is well.
        return Page(f"{name}-cut-off", language, text, png[: len(png) // 2], clean=False, corrupt=True, repaired=png)
    return Page(name, language, text, png, clean=condition.clean)


def _language(number: int) -> str:
    # One step further each round, or a language whose turn is every fourth page would only ever come disturbed.
    codes = languages()
    rounds, place = divmod(number - 1, len(codes))
    return codes[(place + rounds) % len(codes)]


def _condition(number: int, language: str) -> "_Condition":
    if number % 4:
        return _CLEAN[number % len(_CLEAN)]
    condition = _DISTURBED[(number // 4 - 1) % len(_DISTURBED)]
    # The hand knows no Chinese characters.
    return _NOISY if condition is _HANDWRITTEN and language in UNSPACED else condition


def _photographed_page(number: int) -> Page:
    """scikit-image's ``page``, found without importing the package, whose loader may copy it into the home folder."""
    png = (_folder("skimage") / "data" / "page.png").read_bytes()
    return Page(f"{number:02d}-en-photograph", "en", _PHOTOGRAPHED_TEXT, png, clean=False)


# The last line of the photograph is cut through by its edge; nobody could read it, so it is not part of the truth.
_PHOTOGRAPHED_TEXT = """\
Region-based segmentation
Let us first determine markers of the coins and the
background. These markers are pixels that we can label
unambiguously as either object or background. Here,
the markers are found at the two extreme parts of the
histogram of grey values:
>>> markers = np.zeros_like(coins)"""


# --- the letter, as written ---

# A5 at 120 dots per inch, rounded to the multiple of 32 that the text detector works in.
_WIDTH, _HEIGHT = 704, 992
_MARGIN = 72


@dataclass(frozen=True)
class _Face:
    package: str
    file: str
    size: int

    def load(self) -> ImageFont.FreeTypeFont:
        # The basic layout is always there; the other depends on a library of the system and moves glyphs by a hair.
        path = _folder(self.package) / self.file
        return ImageFont.truetype(str(path), self.size, layout_engine=ImageFont.Layout.BASIC)


# Sizes in pixels, 11 to 12 points on paper; the handwriting is small for its size and gets more.
_PRINTED = (
    _Face("font_source_serif_pro", "files/SourceSerifPro-Regular.ttf", 20),
    _Face("font_hanken_grotesk", "files/HankenGrotesk-Regular.otf", 19),
    _Face("fontpkg_ibm_plex_mono", "files/IBMPlexMono-Regular.ttf", 18),
    _Face("font_caladea", "files/Caladea-Regular.ttf", 20),
)
_HAND = _Face("fontpkg_caveat", "files/Caveat[wght].ttf", 29)
_CHINESE = (
    _Face("pylopdf_fonts_zh_cn", "NotoSerifSC-Regular.otf", 21),
    _Face("pylopdf_fonts_zh_cn", "NotoSansSC-Regular.otf", 21),
)


def _draw(letter: Letter, *, handwritten: bool, choice: Random) -> tuple[Image.Image, str]:
    """The letter in black on white, and its text broken into the lines that it was drawn in."""
    spaced = letter.language not in UNSPACED
    face = _HAND if handwritten else choice.choice(_PRINTED if spaced else _CHINESE)
    font = face.load()
    image = Image.new("L", (_WIDTH, _HEIGHT), 255)
    pen = ImageDraw.Draw(image)
    step = round(face.size * choice.uniform(1.5, 1.75))
    top = choice.randint(60, 110)
    lines: list[str] = []

    def write(text: str, *, right: bool = False, indent: int = 0) -> None:
        nonlocal top
        left = _WIDTH - _MARGIN - font.getlength(text) if right else _MARGIN + indent
        pen.text((left, top), text, font=font, fill=0)
        lines.append(text)
        top += step

    letterhead_right = choice.random() < 0.5
    for line in letter.sender:
        write(line, right=letterhead_right)
    top += step
    write(letter.date, right=True)
    top += step
    write(letter.salutation)
    top += step // 2
    for line in _wrap(letter.body, font, _WIDTH - 2 * _MARGIN, spaced=spaced):
        write(line)
    top += step // 2
    indent = choice.choice((0, 200))
    write(letter.closing, indent=indent)
    write(letter.signature, indent=indent)
    return image, "\n".join(lines)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, *, spaced: bool) -> list[str]:
    """The text in lines no wider than this."""
    joint = " " if spaced else ""
    lines = [""]
    for piece in text.split() if spaced else text:
        longer = f"{lines[-1]}{joint}{piece}" if lines[-1] else piece
        # No line of Chinese begins with a comma or a full stop: it hangs over the margin instead.
        hangs = not spaced and unicodedata.category(piece) == "Po"
        if not lines[-1] or hangs or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(piece)
    return lines


# --- the letter, as it comes out of the scanner ---


@dataclass(frozen=True)
class _Condition:
    name: str
    clean: bool = True
    tilt: tuple[float, float] = (0.0, 0.6)
    """Degrees, to either side."""
    ink: int = 45
    paper: int = 244
    blur: float = 0.4
    noise: float = 2.0
    specks: float = 0.0
    """The share of pixels that are dust."""


_CLEAN = (
    _Condition("letter"),
    _Condition("letter", ink=70, paper=228),
    _Condition("tilted", tilt=(2.0, 4.0)),
    _Condition("letter", ink=30, paper=250),
    _Condition("tilted", tilt=(2.0, 4.0), ink=60, paper=235),
)
_HANDWRITTEN = _Condition("handwritten", clean=False)
_NOISY = _Condition("noisy", clean=False, noise=32, specks=0.004)
_BLURRED = _Condition("blurred", clean=False, blur=1.7)
_FADED = _Condition("faded", clean=False, ink=170, paper=212, noise=7)
_DISTURBED = (_HANDWRITTEN, _NOISY, _FADED, _BLURRED)


def _scan(image: Image.Image, condition: _Condition, choice: Random) -> Image.Image:
    """Ink on paper under this condition: tilted, softened, unevenly lit, grainy."""
    tilt = choice.uniform(*condition.tilt) * choice.choice((-1, 1))
    image = image.rotate(tilt, resample=Image.Resampling.BICUBIC, fillcolor=255)
    image = image.filter(ImageFilter.GaussianBlur(condition.blur))
    ink_to_paper = np.asarray(image, dtype=np.float64) / 255
    pixels = condition.ink + ink_to_paper * (condition.paper - condition.ink)
    grain = np.random.default_rng(choice.getrandbits(64))
    pixels *= np.linspace(1.0, choice.uniform(0.93, 0.99), _WIDTH)[np.newaxis, :]
    pixels += grain.normal(0, condition.noise, pixels.shape)
    pixels[grain.random(pixels.shape) < condition.specks] = condition.ink
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Grain does not compress: trying harder saves a tenth of the bytes and costs four times the time.
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _folder(package: str) -> Path:
    """Where an installed package keeps its files, without running its code."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is not installed: pip install 'pgjobs[demo]'", name=package)
    return Path(spec.submodule_search_locations[0])
