"""The metadata server of Cloud Run, as far as Google's clients ask it for an account."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.proof.listener import QuietHandler, listening

_ACCOUNT = "canary@local-project.iam.gserviceaccount.com"
# A minute is less than what the clients want a token to live for: each call asks for a new one.
_TOKEN = {"access_token": "of-a-minute", "expires_in": 60, "token_type": "Bearer"}
_INFO = {"email": _ACCOUNT, "scopes": [], "aliases": ["default"]}
_ANSWERS: dict[str, object] = {
    "": "computeMetadata/",
    "computeMetadata/v1/project/project-id": "local-project",
    "computeMetadata/v1/universe/universe-domain": "googleapis.com",
    **{
        f"computeMetadata/v1/instance/service-accounts/{name}/{path}": answer
        for name in ("default", _ACCOUNT)
        for path, answer in (("", _INFO), ("token", _TOKEN))
    },
}


class _Handler(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802 (the name is http.server's)
        answer = _ANSWERS.get(self.path.partition("?")[0].lstrip("/"))
        is_text = isinstance(answer, str)
        body = (str(answer) if is_text else json.dumps(answer)).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", "application/text" if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def metadata_server() -> Iterator[str]:
    """Serve until the block ends; yields its host and port."""
    with listening(_Handler) as address:
        yield address.removeprefix("http://")
