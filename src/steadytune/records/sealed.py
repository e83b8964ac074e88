"""The run.json of a run: data that carry their own checksum, whoever did the run."""

from __future__ import annotations

import json
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from steadytune.config import Config
from steadytune.files import CorruptFile, check_seal, parse_json, sealed

Record = TypeVar("Record", bound="Sealed")


class NotUnderstood(CorruptFile):
    """A complete file that this version cannot read."""


class Sealed(Config):
    """The record of one run, and its format on disk.

    Attributes:
        format: Version of the format.
    """

    format: ClassVar[int] = 1

    @property
    def id(self) -> str:
        """The name of the run's folder."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Return the text of run.json, which includes its own checksum."""
        content = {"format": self.format, "id": self.id, **self.model_dump(mode="json")}
        return json.dumps(sealed(content), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls: type[Record], text: str | bytes) -> Record:
        """Read run.json.

        Raises:
            NotUnderstood: It is complete, but of another version or with a stabilizer of a package that is not
                installed.
            CorruptFile: It is damaged.
        """
        try:
            content = parse_json(text)
            sealed_content = isinstance(content, dict) and {"sha256", "id", "format"} <= content.keys()
        except ValueError as error:
            raise CorruptFile("run.json cannot be read") from error
        if not sealed_content:
            raise CorruptFile("run.json cannot be read")
        try:
            content = check_seal(content)
        except CorruptFile:
            raise CorruptFile("run.json does not match its checksum") from None
        run_id, version = content.pop("id"), content.pop("format")
        if version != cls.format:
            raise NotUnderstood(f"run.json has format {version}; this version of steadytune reads {cls.format}")
        try:
            record = cls.model_validate(cls._renamed(content))
        except ValidationError:
            record = None
        if record is None or record.id != run_id:
            raise NotUnderstood("run.json was written by an incompatible version of steadytune")
        return record

    @classmethod
    def _renamed(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Rename what older versions wrote under another name."""
        return content
