"""Pictures as clients send and get them: in base64."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

from fastapi.exceptions import HTTPException
from PIL import PngImagePlugin, UnidentifiedImageError

from modules import image_infotext, images
from modules.shared import opts

PNG = "png"


def decode_base64_to_image(encoding: str) -> Any:
    """A picture from base64, with or without `data:image/…;base64,`; addresses are not fetched."""
    if not isinstance(encoding, str):
        raise HTTPException(
            status_code=422, detail=f"A picture is {encoding!r:.100}; allowed is a text in base64."
        )
    if encoding.startswith(("http://", "https://")):
        raise HTTPException(status_code=500, detail="An address is not fetched: send the picture itself.")
    if encoding.startswith("data:image/"):
        encoding = encoding.partition(",")[2]
    try:
        return images.read(io.BytesIO(base64.b64decode(encoding)))
    except images.PictureSizeError as e:
        raise HTTPException(status_code=422, detail=str(e)) from e
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, SyntaxError) as e:
        raise HTTPException(status_code=500, detail="That is no picture in base64.") from e


def encode_pil_to_base64(image: Any) -> bytes:
    """A picture in the format of the settings, with its parameters inside."""
    if isinstance(image, str):
        return image
    kind = opts.samples_format.lower()
    texts = {key: text for key, text in image.info.items() if isinstance(key, str) and isinstance(text, str)}
    with io.BytesIO() as buffer:
        if kind == PNG:
            info = PngImagePlugin.PngInfo()
            for key, text in texts.items():
                info.add_text(key, text)
            image.save(buffer, format="PNG", pnginfo=info if texts else None)
        elif kind in ("jpg", "jpeg", "webp"):
            flat = image.convert("RGB") if image.mode in ("RGBA", "P") else image
            exif = image_infotext.exif_with_comment(texts.get("parameters", ""))
            flat.save(
                buffer, format="WEBP" if kind == "webp" else "JPEG", exif=exif, quality=opts.jpeg_quality
            )
        else:
            raise HTTPException(status_code=500, detail=f"There is no picture format '{kind}' here.")
        return base64.b64encode(buffer.getvalue())
