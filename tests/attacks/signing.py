"""A second implementation of Signature Version 4 and 2, as a client."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import attrs

EMPTY = hashlib.sha256(b"").hexdigest()
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


@attrs.frozen
class Signer:
    """A client with a key pair that signs at a given time, region and service."""

    access: str
    secret: str
    when: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    region: str = "us-east-1"
    host: str = "localhost"

    @property
    def stamp(self) -> str:
        """The time in the signed format."""
        return self.when.strftime("%Y%m%dT%H%M%SZ")

    @property
    def scope(self) -> str:
        """The credential scope."""
        return f"{self.stamp[:8]}/{self.region}/s3/aws4_request"

    def sign(self, kind: str, *lines: str) -> str:
        """Return the signature of a text."""
        key = f"AWS4{self.secret}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(
            key, "\n".join((kind, self.stamp, self.scope, *lines)).encode(), "sha256"
        ).hex()

    def _request(self, method: str, target: str, headers: dict[str, str], payload: str) -> str:
        path, _, query = target.partition("?")
        pairs = sorted(
            (quote(unquote(name), safe="~"), quote(unquote(value), safe="~"))
            for name, _, value in (each.partition("=") for each in query.split("&") if each)
        )
        canonical = "\n".join(
            [
                method,
                quote(unquote(path), safe="/~"),
                "&".join(f"{name}={value}" for name, value in pairs),
                *(f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)),
                "",
                ";".join(sorted(headers)),
                payload,
            ]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return self.sign("AWS4-HMAC-SHA256", digest)

    def headers(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        *,
        payload: str = EMPTY,
    ) -> dict[str, str]:
        """Return *headers* with those of the signature; *payload* is a digest or a constant."""
        sent = {"x-amz-date": self.stamp, "x-amz-content-sha256": payload, **(headers or {})}
        signed = {"host": self.host, **sent}
        signature = self._request(method, target, signed, payload)
        return {
            **sent,
            "authorization": f"AWS4-HMAC-SHA256 Credential={self.access}/{self.scope}, "
            f"SignedHeaders={';'.join(sorted(signed))}, Signature={signature}",
        }

    def presigned(
        self, method: str, target: str, *, expires: object = 60, payload: str = "UNSIGNED-PAYLOAD"
    ) -> str:
        """Return *target* as a presigned URL; *payload* is a digest or a constant."""
        path, _, query = target.partition("?")
        credential = quote(f"{self.access}/{self.scope}", safe="")
        query = "&".join(
            [
                *filter(None, [query]),
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                f"X-Amz-Credential={credential}",
                f"X-Amz-Date={self.stamp}",
                f"X-Amz-Expires={expires}",
                "X-Amz-SignedHeaders=host",
            ]
        )
        target = f"{path}?{query}"
        signature = self._request(method, target, {"host": self.host}, payload)
        return f"{target}&X-Amz-Signature={signature}"

    @property
    def date(self) -> str:
        """The time as an HTTP date."""
        return self.when.strftime("%a, %d %b %Y %H:%M:%S GMT")

    def _sign_v2(self, method: str, resource: str, date: str, headers: dict[str, str]) -> str:
        amz = "".join(
            f"{name}:{value}\n" for name, value in sorted(headers.items()) if "x-amz-" in name
        )
        digest, kind = headers.get("content-md5", ""), headers.get("content-type", "")
        text = f"{method}\n{digest}\n{kind}\n{date}\n{amz}{resource}"
        return base64.b64encode(hmac.digest(self.secret.encode(), text.encode(), "sha1")).decode()

    def headers_v2(
        self, method: str, resource: str, headers: dict[str, str] | None = None
    ) -> dict[str, str]:
        """Return *headers* with those of a SigV2 signature of *resource*."""
        sent = {"date": self.date, **(headers or {})}
        date = "" if "x-amz-date" in sent else sent["date"]
        signature = self._sign_v2(method, resource, date, sent)
        return {**sent, "authorization": f"AWS {self.access}:{signature}"}

    def presigned_v2(
        self,
        method: str,
        resource: str,
        headers: dict[str, str] | None = None,
        *,
        expires: object = None,
    ) -> str:
        """Return *resource* as a presigned URL of SigV2, to be sent with *headers*."""
        date = str(int(self.when.timestamp()) + 60 if expires is None else expires)
        signature = self._sign_v2(method, resource, date, headers or {})
        separator = "&" if "?" in resource else "?"
        return (
            f"{resource}{separator}AWSAccessKeyId={self.access}&Expires={quote(date)}"
            f"&Signature={quote(signature, safe='')}"
        )

    def chunks(
        self, seed: str, *chunks: bytes, trailers: dict[str, str] | None = None
    ) -> list[bytes]:
        """Return a framed body in pieces: each chunk, the empty one, and the trailers."""
        pieces, before = [], seed
        for chunk in (*chunks, b""):
            before = self.sign(
                "AWS4-HMAC-SHA256-PAYLOAD", before, EMPTY, hashlib.sha256(chunk).hexdigest()
            )
            head = f"{len(chunk):x};chunk-signature={before}\r\n".encode()
            pieces.append(head + chunk + b"\r\n" if chunk else head)
        lines = [f"{name}:{value}" for name, value in sorted((trailers or {}).items())]
        if lines:
            text = "".join(f"{line}\n" for line in lines)
            signature = self.sign(
                "AWS4-HMAC-SHA256-TRAILER", before, hashlib.sha256(text.encode()).hexdigest()
            )
            lines.append(f"x-amz-trailer-signature:{signature}")
        pieces.append("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        return pieces


def seed_of(headers: dict[str, str]) -> str:
    """Return the signature from which that of the first chunk is derived."""
    return headers["authorization"].rpartition("Signature=")[2]
