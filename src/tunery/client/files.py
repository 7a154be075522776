"""Files over the API: upload, list, retrieve, content, delete."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from tunery.client.objects import Deleted, File, Page
from tunery.client.port import Connection, given

UPLOAD_SECONDS_MAX = 600.0
Progress = Callable[[int], None]


class Files:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def upload(self, path: Path, *, purpose: str = "fine-tune", on_progress: Progress | None = None) -> File:
        """Send a file, streamed from disk; `on_progress` is told the bytes sent so far. Raises OSError."""
        with _Counted(path, on_progress) as content:
            return self._connection.request(
                "POST",
                "/files",
                data={"purpose": purpose},
                files={"file": (path.name, content, "application/octet-stream")},
                timeout=UPLOAD_SECONDS_MAX,
            )

    def list(self, *, purpose: str | None = None, limit: int | None = None, after: str | None = None) -> Page[File]:
        return self._connection.request("GET", "/files", params=given(purpose=purpose, limit=limit, after=after))

    def retrieve(self, file_id: str) -> File:
        return self._connection.request("GET", f"/files/{quote(file_id, safe='')}")

    def content(self, file_id: str) -> Iterator[bytes]:
        """The bytes of the file in chunks; a result file comes as plain CSV."""
        path = f"/files/{quote(file_id, safe='')}/content"
        with self._connection.stream("GET", path, headers={"accept": "text/csv, */*"}) as response:
            yield from response.iter_bytes()

    def delete(self, file_id: str) -> Deleted:
        return self._connection.request("DELETE", f"/files/{quote(file_id, safe='')}")


class _Counted(io.FileIO):
    """A file that says how much of it was read."""

    def __init__(self, path: Path, on_progress: Progress | None) -> None:
        super().__init__(path, "rb")
        self._on_progress = on_progress
        self._sent = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(-1 if size is None else size) or b""
        self._sent += len(chunk)
        if self._on_progress is not None:
            self._on_progress(self._sent)
        return chunk
