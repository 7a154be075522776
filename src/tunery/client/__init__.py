"""A small client of the API, for the commands and for scripts: it speaks HTTP and shares no code with the server.

    client = Client("http://127.0.0.1:8000/v1")
    file = client.files.upload(Path("train.jsonl"))
    job = client.jobs.create(model="tunery-starter", training_file=file["id"])
    for update in client.jobs.follow(job["id"]):
        print(update.job["status"], [event["message"] for event in update.events])

Answers are the server's JSON objects, untouched; `client.objects` types them.
"""

from tunery.client.connection import Client
from tunery.client.failures import ApiFailure, ClientError, CutShort, TimedOut, Unreachable
from tunery.client.jobs import Update

__all__ = ["ApiFailure", "Client", "ClientError", "CutShort", "TimedOut", "Unreachable", "Update"]
