"""Checkpoint permissions, list filters and metadata of jobs through the official client."""

import pytest
from openai import NotFoundError, OpenAI

from tests.samples import upload, wait_for_end


@pytest.fixture(scope="module")
def model(client: OpenAI) -> str:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=upload(client).id, suffix="shared", hyperparameters={"n_epochs": 1}
    )
    ended = wait_for_end(client, job.id)
    assert ended.fine_tuned_model is not None
    return ended.fine_tuned_model


def test_permissions_are_granted_once_and_taken_back(client: OpenAI, model: str) -> None:
    permissions = client.fine_tuning.checkpoints.permissions
    granted = list(permissions.create(model, project_ids=["proj_a", "proj_b"]))
    assert [each.project_id for each in granted] == ["proj_a", "proj_b"]
    assert [each.id for each in permissions.create(model, project_ids=["proj_a"])] == [granted[0].id]
    assert [each.project_id for each in permissions.list(model)] == ["proj_b", "proj_a"]
    assert [each.project_id for each in permissions.list(model, order="ascending")] == ["proj_a", "proj_b"]
    assert [each.project_id for each in permissions.list(model, project_id="proj_b")] == ["proj_b"]
    gone = permissions.delete(granted[0].id, fine_tuned_model_checkpoint=model)
    assert (gone.id, gone.deleted) == (granted[0].id, True)
    assert [each.project_id for each in permissions.list(model)] == ["proj_b"]


def test_permissions_of_an_unknown_model_are_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        client.fine_tuning.checkpoints.permissions.create("ft:nothing", project_ids=["proj_a"])


def test_jobs_are_filtered(client: OpenAI, model: str) -> None:
    def ids(**query: str) -> list[str]:
        return [job.id for job in client.fine_tuning.jobs.list(limit=100, extra_query=query)]

    [mine] = ids(suffix="shared")
    assert mine in ids(status="succeeded", model="tiny")
    assert mine not in ids(status="failed")
    created_at = client.fine_tuning.jobs.retrieve(mine).created_at
    assert mine in ids(created_after=str(created_at - 1), created_before=str(created_at + 1))
    assert mine not in ids(created_after=str(created_at))


def test_metadata_is_replaced(client: OpenAI, model: str) -> None:
    [mine] = client.fine_tuning.jobs.list(extra_query={"suffix": "shared"}).data
    for metadata in ({"a": "1"}, {"b": "2"}, None):
        changed = client.post(f"/fine_tuning/jobs/{mine.id}", body={"metadata": metadata}, cast_to=dict[str, object])
        assert changed["metadata"] == metadata
