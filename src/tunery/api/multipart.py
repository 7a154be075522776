"""Multipart uploads, streamed: the file goes to the blob store as it arrives, so memory stays flat."""

from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from tunery.blobs.disk import BlobWriter, DiskBlobs
from tunery.errors import ApiError, InvalidFileUpload

FIELD_BYTES_MAX = 64 * 1024
FIELDS_MAX = 32


class UploadTooLarge(ApiError):
    status = 413


def too_large(file_bytes_max: int) -> UploadTooLarge:
    return UploadTooLarge(f"The file is larger than the limit of {file_bytes_max} bytes.", param="file")


@dataclass
class Form:
    """The fields of a form and its one file. Whoever took the form discards the file unless it was committed."""

    fields: dict[str, str] = field(default_factory=dict)
    file: BlobWriter | None = None
    filename: str = "upload"


class FormReader:
    """The parser's callbacks: collects fields, passes the file's bytes on. Fields may come in any order."""

    def __init__(self, blobs: DiskBlobs, *, file_field: str, file_bytes_max: int) -> None:
        self.form = Form()
        self._blobs = blobs
        self._file_field = file_field
        self._file_bytes_max = file_bytes_max
        self._header_name = b""
        self._header_value = b""
        self._disposition: dict[bytes, bytes] = {}
        self._value = bytearray()
        self.is_complete = False
        """Whether the closing boundary was seen: a body that was cut off must not pass for a shorter file."""

    def on_part_begin(self) -> None:
        self._disposition = {}
        self._value = bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, self._disposition = parse_options_header(self._header_value)
        self._header_name = self._header_value = b""

    def on_headers_finished(self) -> None:
        if self._name == self._file_field:
            if self.form.file is not None:
                raise InvalidFileUpload(f"Only one '{self._file_field}' can be sent.", param=self._file_field)
            self.form.file = self._blobs.create()
            sent = self._disposition.get(b"filename", b"upload").decode("utf-8", "replace")
            self.form.filename = sent.replace("\\", "/").rpartition("/")[2] or "upload"

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name != self._file_field:
            self._value += data[start:end]
            if len(self._value) > FIELD_BYTES_MAX:
                raise InvalidFileUpload(f"The field '{self._name}' is too long.", param=self._name)
        elif self.form.file is not None:
            self.form.file.write(data[start:end])
            if self.form.file.file_bytes > self._file_bytes_max:
                raise too_large(self._file_bytes_max)

    def on_part_end(self) -> None:
        if self._name != self._file_field:
            self.form.fields[self._name] = self._value.decode("utf-8", "replace")
            if len(self.form.fields) > FIELDS_MAX:
                raise InvalidFileUpload(f"The form has more than {FIELDS_MAX} fields.")

    def on_end(self) -> None:
        self.is_complete = True

    @property
    def _name(self) -> str:
        return self._disposition.get(b"name", b"").decode("utf-8", "replace")


async def read_form(request: Request, blobs: DiskBlobs, *, file_field: str, file_bytes_max: int) -> Form:
    """The whole form. Raises InvalidFileUpload or UploadTooLarge, having removed what was written."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidFileUpload("Send the file as multipart/form-data with the fields 'file' and 'purpose'.")
    if int(request.headers.get("content-length") or 0) > file_bytes_max + FIELDS_MAX * FIELD_BYTES_MAX:
        raise too_large(file_bytes_max)
    reader = FormReader(blobs, file_field=file_field, file_bytes_max=file_bytes_max)
    callbacks = {name: getattr(reader, name) for name in dir(reader) if name.startswith("on_")}
    parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]
    is_taken = False
    try:
        async for chunk in request.stream():
            parser.write(chunk)
        if not reader.is_complete:
            raise InvalidFileUpload("The multipart body is not complete: its closing boundary is missing.")
        if reader.form.file is None:
            raise InvalidFileUpload(f"'{file_field}' is a required property", param=file_field)
        is_taken = True
    except (MultipartParseError, ClientDisconnect) as error:
        raise InvalidFileUpload(f"The multipart body is not complete: {error}") from None
    finally:
        if reader.form.file is not None and not is_taken:
            reader.form.file.discard()
    return reader.form
