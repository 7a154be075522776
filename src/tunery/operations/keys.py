"""Who a request comes from: nobody in particular while there are no keys, the key's project once there are."""

import secrets
import string
import time
import zlib
from collections.abc import Sequence

from tunery import ids
from tunery.errors import Unauthorized
from tunery.operations.access import Caller, Context, anonymous
from tunery.store import keys
from tunery.store.database import Connection, Row
from tunery.store.models import organization_id
from tunery.store.schema import DEFAULT_PROJECT

PREFIX = "sk-tunery-"
SECRET_LENGTH = 43
SHOWN_FIRST, SHOWN_LAST = 8, 4
_ALPHABET = string.ascii_letters + string.digits
MISSING = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY). `tunery keys create` makes one."
)


async def identify(context: Context, secret: str | None) -> Caller:
    """The caller behind a key. Raises Unauthorized in OpenAI's wordings where a key is needed and not given."""

    def query(connection: Connection) -> Caller | None:
        row = keys.find(connection, secret) if secret else None
        if row is not None:
            return Caller(project_id=row["project_id"], organization_id=organization_id(context.organization))
        return None if keys.in_use(connection) else anonymous(context)

    caller = await context.database.read(query)
    if caller is not None:
        return caller
    if not secret:
        raise Unauthorized(MISSING)
    raise Unauthorized(
        f"Incorrect API key provided: {mask(secret)}. `tunery keys list` shows the keys of this server.",
        code="invalid_api_key",
    )


def create(connection: Connection, *, name: str) -> str:
    """A new key of the default project: shown once, kept as a digest."""
    secret = new_secret()
    keys.add(
        connection,
        secret=secret,
        id=ids.key(),
        project_id=DEFAULT_PROJECT,
        name=name,
        created_at=int(time.time()),
    )
    return secret


def new_secret() -> str:
    """`sk-tunery-`, 256 random bits, and a checksum by which scanners tell a real key from a chance match."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH))
    return f"{PREFIX}{body}{zlib.crc32(body.encode()):08x}"


def mask(secret: str) -> str:
    """First 8 and last 4 characters, a star for each hidden one; nothing of a short key."""
    hidden = len(secret) - SHOWN_FIRST - SHOWN_LAST
    if hidden <= 0:
        return "*" * len(secret)
    return secret[:SHOWN_FIRST] + "*" * hidden + secret[-SHOWN_LAST:]


def listing(connection: Connection) -> Sequence[Row]:
    """Every key, without its secret, oldest first."""
    return keys.listing(connection)


def revoke(connection: Connection, key_id: str) -> bool:
    """End a key at once; False when there is no such live key."""
    return keys.revoke(connection, key_id, at=int(time.time()))
