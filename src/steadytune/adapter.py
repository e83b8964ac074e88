"""What a study says of adapters: small trained additions to pre-trained weights that are frozen themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from steadytune.config import Config


def _modules(value: Any) -> Any:
    if isinstance(value, str):
        return value if value in ("default", "all-linear") else (value,)
    if isinstance(value, (list, tuple)) and (not value or len(set(map(str, value))) < len(value)):
        raise ValueError(
            "target_modules must be default, all-linear, or a list of different names such as [query, value]"
        )
    return value


class Lora(Config):
    """LoRA: W + alpha/r * B A in the place of W, with W (out, in) frozen, B (out, r) and A (r, in) trained.

    Source: Hu et al., arXiv 2106.09685 (known), through PEFT, whose arguments these are.

    Attributes:
        r: Rank.
        alpha: Scale, divided by r.
        dropout: Dropout of what enters A.
        init: How A and B start. "default": B at 0, A uniform; "gaussian": B at 0, A normal; "orthogonal": both random,
            with B A = 0. "pissa" and "olora" take the part with the largest singular values, or the first of a QR
            decomposition, out of W and put it into B A; nothing about them is random.
        target_modules: Linear layers of the pre-trained part that get an adapter: "default" those that PEFT has for the
            architecture, "all-linear" all, or a list of names, which may be ends of names.
    """

    r: Annotated[int, Field(ge=1, le=65_536)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init: Literal["default", "gaussian", "pissa", "olora", "orthogonal"] = "default"
    target_modules: Annotated[
        Literal["default", "all-linear"] | tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_modules)
    ] = "default"

    @model_validator(mode="after")
    def _check_rank(self) -> Lora:
        if self.init == "orthogonal" and self.r % 2:
            raise ValueError(f"init orthogonal needs an even r, not {self.r}")
        return self


class Adapter(Config):
    """The adapter of a training.

    Attributes:
        lora: LoRA.
    """

    sections: ClassVar[Mapping[str, type[Config]]] = {"lora": Lora}

    lora: Lora

    @model_validator(mode="before")
    @classmethod
    def _read_name(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and not content:
            raise ValueError("name a method: lora")
        if content == "lora":
            return {"lora": {}}
        names = [content] if isinstance(content, str) else list(content) if isinstance(content, Mapping) else []
        if unknown := [name for name in names if name != "lora"]:
            raise ValueError(
                f"{unknown[0]!r:.60} is no known adapter, only lora is; its settings are given below it: "
                "{lora: {r: 8, alpha: 16}}"
            )
        if isinstance(content, Mapping) and content.get("lora", 0) is None:
            return {**content, "lora": {}}
        return content

    def __str__(self) -> str:
        """Return the method with its parameters, as one line."""
        parameters = self.lora.model_dump()
        modules = parameters.pop("target_modules")
        parameters["target_modules"] = modules if isinstance(modules, str) else ", ".join(modules)
        return f"LoRA ({', '.join(f'{name} {_short(value)}' for name, value in parameters.items())})"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
