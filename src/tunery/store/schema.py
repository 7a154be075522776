"""The tables. Every tenant row has `project_id`, and references between tenant rows carry it too.

Times are Unix seconds: integers where the API shows them, floats where the queue compares them. `seq` columns are
row numbers that break ties between rows of one second, newest last.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from tunery.lifecycle import Desired, Status

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowNumber = BigInteger().with_variant(Integer, "sqlite")
DEFAULT_PROJECT = "proj_default"


def _one_of(column: str, values: object, name: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({listed})", name=name)


def _project() -> Column:
    return Column("project_id", Text, ForeignKey("projects.id"), nullable=False)


def _of(table: str, column: str, *, delete: bool = False) -> ForeignKeyConstraint:
    """A reference that cannot cross projects."""
    return ForeignKeyConstraint(
        ["project_id", column], [f"{table}.project_id", f"{table}.id"], ondelete="CASCADE" if delete else None
    )


projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("name", Text, nullable=False),
    Column("secret_sha256", Text, nullable=False, unique=True),
    Column("last4", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

files = Table(
    "files",
    metadata,
    Column("seq", RowNumber, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _project(),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("blob_key", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("deleted_at", BigInteger),
    UniqueConstraint("project_id", "id"),
    Index(None, "project_id", "created_at", "seq"),
    sqlite_autoincrement=True,
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    _project(),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("file_expires_seconds", Integer),
    Column("file_id", Text),
    UniqueConstraint("project_id", "id"),
    _of("files", "file_id"),
    _one_of("status", ("pending", "completed", "cancelled", "expired"), "status"),
    Index(None, "status", "expires_at"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    _project(),
    Column("id", Text, primary_key=True),
    Column("upload_id", Text, nullable=False),
    Column("blob_key", Text, nullable=False),
    Column("part_bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    _of("uploads", "upload_id", delete=True),
    Index(None, "upload_id"),
)

bases = Table(
    "bases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("folder", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("positions_max", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("seq", RowNumber, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _project(),
    Column("base_id", Text, ForeignKey("bases.id"), nullable=False),
    Column("job_id", Text, nullable=False),
    Column("parent_id", Text),
    Column("kind", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("blob_key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    UniqueConstraint("project_id", "id"),
    _of("jobs", "job_id"),
    _of("models", "parent_id"),
    _one_of("kind", ("adapter", "full"), "kind"),
    Index(None, "project_id", "created_at", "seq"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", RowNumber, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _project(),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", Double),
    Column("finished_at", BigInteger),
    Column("estimated_finish", BigInteger),
    Column("paused_at", BigInteger),
    Column("status", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("base_id", Text, ForeignKey("bases.id"), nullable=False),
    Column("fine_tuned_model", Text),
    Column("training_file", Text, nullable=False),
    Column("validation_file", Text),
    Column("suffix", Text),
    Column("seed", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("method_settings", JSON(none_as_null=True)),
    Column("requested_n_epochs", Integer),
    Column("requested_batch_size", Integer),
    Column("requested_learning_rate_multiplier", Double),
    Column("n_epochs", Integer),
    Column("batch_size", Integer),
    Column("learning_rate_multiplier", Double),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("error_param", Text),
    Column("total_steps", Integer),
    Column("step", Integer, nullable=False, server_default="0"),
    Column("trained_tokens", BigInteger),
    Column("billed_tokens", BigInteger),
    Column("spec", JSON(none_as_null=True)),
    # The queue entry: who works on the job, and which of their writes still count.
    Column("desired_state", Text, nullable=False, server_default=Desired.RUN.value),
    Column("runner_id", Text),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("lease_until", Double),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("attempt_step", Integer, nullable=False, server_default="0"),
    Column("run_alone", Integer, nullable=False, server_default="0"),
    Column("not_before", Double),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("event_seq", Integer, nullable=False, server_default="0"),
    Column("report_n", Integer, nullable=False, server_default="0"),
    UniqueConstraint("project_id", "id"),
    _of("files", "training_file"),
    _of("files", "validation_file"),
    _one_of("status", Status, "status"),
    _one_of("desired_state", Desired, "desired_state"),
    _one_of("method", ("supervised", "dpo", "reinforcement"), "method"),
    CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="error_means_failed"),
    CheckConstraint("(status = 'succeeded') = (fine_tuned_model IS NOT NULL)", name="model_means_succeeded"),
    Index(None, "project_id", "created_at", "seq"),
    Index("ix_jobs_queue", "status", "priority", "created_at", "seq"),
    sqlite_autoincrement=True,
)

job_parents = Table(
    "job_parents",
    metadata,
    _project(),
    Column("job_id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    _of("jobs", "job_id", delete=True),
    _of("models", "model_id"),
)

job_result_files = Table(
    "job_result_files",
    metadata,
    _project(),
    Column("job_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("file_id", Text, nullable=False),
    _of("jobs", "job_id", delete=True),
    _of("files", "file_id"),
)

job_integrations = Table(
    "job_integrations",
    metadata,
    _project(),
    Column("job_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("type", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("name", Text),
    Column("entity", Text),
    _of("jobs", "job_id", delete=True),
    _one_of("type", ("wandb",), "type"),
)

job_integration_tags = Table(
    "job_integration_tags",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("integration_position", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("tag", Text, nullable=False),
    ForeignKeyConstraint(
        ["job_id", "integration_position"],
        ["job_integrations.job_id", "job_integrations.position"],
        ondelete="CASCADE",
    ),
)

job_metadata = Table(
    "job_metadata",
    metadata,
    _project(),
    Column("job_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    _of("jobs", "job_id", delete=True),
    Index(None, "project_id", "key", "value"),
)

events = Table(
    "events",
    metadata,
    _project(),
    Column("job_id", Text, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON(none_as_null=True)),
    _of("jobs", "job_id", delete=True),
    _one_of("level", ("info", "warn", "error"), "level"),
    _one_of("type", ("message", "metrics"), "type"),
)

metrics = Table(
    "metrics",
    metadata,
    _project(),
    Column("job_id", Text, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("split", Text, primary_key=True),
    Column("loss", Double, nullable=False),
    Column("accuracy", Double, nullable=False),
    Column("grad_norm", Double),
    Column("learning_rate", Double),
    Column("tokens", BigInteger),
    Column("seconds", Double),
    _of("jobs", "job_id", delete=True),
    _one_of("split", ("train", "valid", "full_valid"), "split"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _project(),
    Column("id", Text, primary_key=True),
    Column("job_id", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("project_id", "id"),
    UniqueConstraint("job_id", "step"),
    _of("jobs", "job_id", delete=True),
    _of("models", "model_id"),
)

checkpoint_permissions = Table(
    "checkpoint_permissions",
    metadata,
    _project(),
    Column("seq", RowNumber, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("model_id", Text, nullable=False),
    Column("granted_project_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("project_id", "model_id", "granted_project_id"),
    _of("models", "model_id"),
    sqlite_autoincrement=True,
)

snapshots = Table(
    "snapshots",
    metadata,
    _project(),
    Column("job_id", Text, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("blob_key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    _of("jobs", "job_id", delete=True),
)

runners = Table(
    "runners",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hostname", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started_at", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
)

engines = Table(
    "engines",
    metadata,
    Column("base_id", Text, ForeignKey("bases.id"), primary_key=True),
    Column("status", Text, nullable=False),
    Column("runner_id", Text),
    Column("socket_path", Text),
    Column("error", Text),
    Column("wanted_at", Double, nullable=False),
    _one_of("status", ("wanted", "starting", "ready", "failed"), "status"),
)

# Requests that may be sent again: by the client's Idempotency-Key, or by an SDK's retry of the same body.
job_requests = Table(
    "job_requests",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_sha256", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    _of("jobs", "job_id", delete=True),
    Index(None, "created_at"),
)
