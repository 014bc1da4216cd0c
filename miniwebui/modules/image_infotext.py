"""Generation parameters inside image files: PNG text, or the user comment of EXIF."""

from PIL import ExifTags, Image, PngImagePlugin

UNICODE_PREFIX = b"UNICODE\0"

IGNORED_INFO_KEYS = {
    "jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "exif", "loop", "background", "timestamp",
    "duration", "progressive", "progression", "icc_profile", "chromaticity", "photoshop",
}  # fmt: skip


def png_text(entries: dict) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, value in entries.items():
        info.add_text(key, str(value))
    return info


def exif_with_comment(text: str) -> bytes:
    """EXIF data with a user comment, in the Unicode encoding that the standard and the WebUI use."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = UNICODE_PREFIX + text.encode("utf-16-be")
    return exif.tobytes()


def _exif_comment(image: Image.Image) -> str | None:
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not comment:
        return None
    if isinstance(comment, str):
        return comment
    if comment.startswith(UNICODE_PREFIX):
        return comment[len(UNICODE_PREFIX) :].decode("utf-16-be", errors="ignore")
    return comment.removeprefix(b"ASCII\0\0\0").decode("utf8", errors="ignore")


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict]:
    """(generation parameters or None, other text entries) of an opened image."""
    items = dict(image.info or {})
    geninfo = items.pop("parameters", None)
    if "exif" in items:
        geninfo = _exif_comment(image) or geninfo
    elif "comment" in items:  # GIF
        comment = items["comment"]
        geninfo = comment.decode("utf8", errors="ignore") if isinstance(comment, bytes) else comment
    return geninfo, {key: value for key, value in items.items() if key not in IGNORED_INFO_KEYS}
