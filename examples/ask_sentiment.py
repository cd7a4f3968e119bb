"""Calls the service of `sentiment.py`."""

from maitred.client import Client
from maitred.client.errors import InvalidArgument

with Client() as client:
    print(client.execute("sentiment", "score", {"text": "A great day, not a bad one."}))

    for part in client.stream("sentiment", "score_all", {"texts": ["good", "awful"]}):
        print(part)  # the last one is the result

    futures = [client.submit("sentiment", "score", {"text": text}) for text in ("good", "great")]
    print([future.result() for future in futures])

    print(list(client.map("sentiment", "score", ({"text": "good " * n} for n in range(5)))))

    try:
        client.execute("sentiment", "score", {"text": 7})
    except InvalidArgument as error:
        print(error)
