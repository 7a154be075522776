"""API keys: only their digests are kept. A random key of 256 bits needs no slow hash (ASVS 5.0, 11.4.2)."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from tunery.store.schema import api_keys

_LIVE = select(api_keys).where(api_keys.c.revoked_at.is_(None))
_BY_DIGEST = _LIVE.where(api_keys.c.secret_sha256 == bindparam("sha256"))
_ANY = select(api_keys.c.id).limit(1)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def add(connection: Connection, *, secret: str, **values: Any) -> RowMapping:
    new = insert(api_keys).values(secret_sha256=digest(secret), last4=secret[-4:], **values)
    return connection.execute(new.returning(api_keys)).mappings().one()


def find(connection: Connection, secret: str) -> RowMapping | None:
    """The live key with this secret."""
    return connection.execute(_BY_DIGEST, {"sha256": digest(secret)}).mappings().first()


def known(connection: Connection, secret: str) -> bool:
    """Whether there is a key with this secret, revoked or not."""
    return (
        connection.execute(select(api_keys.c.id).where(api_keys.c.secret_sha256 == digest(secret))).first() is not None
    )


def in_use(connection: Connection) -> bool:
    """Whether there ever was a key: from the first one on every request must carry one, revoking opens nothing."""
    return connection.execute(_ANY).first() is not None


def listing(connection: Connection) -> Sequence[RowMapping]:
    """Oldest first, revoked ones too."""
    return connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).mappings().all()


def revoke(connection: Connection, key_id: str, *, at: int) -> bool:
    gone = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=at)
    return connection.execute(gone).rowcount == 1
