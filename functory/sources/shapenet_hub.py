"""ShapeNetCore from a data hub, with the user's own access: one checked zip a class."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from functory.configuration import Config
from functory.sources.hub import REPOSITORY, Repository, download
from functory.sources.shape_models import synset_id

__all__ = ["ShapeNetHub", "download_class", "shapenet_licence"]

ACCESS = (
    "get an account at huggingface.co, accept the terms of ShapeNet on the page of the data set "
    "and put a token of yours into HF_TOKEN, or put the binvox folders of ShapeNetCore.v2 on disk "
    "and set source: {kind: files, paths: [...]}"
)


class ShapeNetHub(Config):
    """Classes of ShapeNetCore from a data set repository on a hub.

    The token is not part of it: the client finds it in its own places.
    """

    kind: Literal["hub"] = "hub"
    classes: tuple[str, ...] = Field(min_length=1)
    """Synset ids or plain names; they become synset ids."""
    repository: str = Field("ShapeNet/ShapeNetCore", pattern=REPOSITORY)
    """Owner and name of a data set with one `<synset>.zip` a class."""
    revision: str = Field("main", min_length=1)
    """Branch, tag or commit."""

    @field_validator("classes")
    @classmethod
    def _as_synsets(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(synset_id(value) for value in values))


def shapenet_licence() -> str:
    """Return the terms of ShapeNet and the work to cite."""
    return (
        "ShapeNet terms of use (https://shapenet.org/terms): non-commercial research and education "
        "only, no redistribution; cite Chang et al., ShapeNet: An Information-Rich 3D Model "
        "Repository, arXiv:1512.03012, 2015"
    )


def download_class(source: ShapeNetHub, synset: str, folder: Path) -> Path:
    """Download the zip of one class, check it and keep it.

    Parameters
    ----------
    source
        The repository to ask; its own `classes` are not looked at.
    synset
        The class, as a synset id.
    folder
        Where `<synset>.zip` goes. Each repository and revision needs a folder of its own. What a
        broken download has left in it is continued.

    Returns
    -------
    Path
        The zip. Where it is kept already, there is no request and no need of a token.

    Raises
    ------
    SourceUnavailable
        What may pass: trying again is up to the caller.
    InputError
        What will not: a token that is missing or refused, a file that does not exist.
    """
    settings = "`classes`, `repository` or `revision`"
    repository = Repository(source.repository, source.revision, ACCESS, settings)
    return download(repository, f"{synset}.zip", folder)
