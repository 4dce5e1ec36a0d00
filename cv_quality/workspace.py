"""The stores of one deployment: landing area, lake, model registry, and where the warehouse and the reports go.

`cv_quality.tasks.open_workspace` makes one that knows every task's modalities.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.errors import SettingsError, near
from cv_quality.gates.verdicts import Record
from cv_quality.lake.kept import Kept
from cv_quality.lake.lake import Lake
from cv_quality.lake.store import Store, open_store
from cv_quality.modality import Modality
from cv_quality.settings import Settings

if TYPE_CHECKING:
    from cv_quality.drops.consent import SaidOfConsent
    from cv_quality.drops.forgotten import Forgotten
    from cv_quality.drops.manifest import CompletedDrop, Promise
    from cv_quality.inference.registry import ModelRegistry


@dataclass(frozen=True)
class Workspace:
    """The stores of one deployment, opened when first used, and the modalities that it understands, by name."""

    settings: Settings
    modalities: Mapping[str, Modality]

    @cached_property
    def landing(self) -> Store:
        return self._store(self.settings.landing, is_confined=True)

    @cached_property
    def lake(self) -> Lake:
        return Lake(self._store(self.settings.lake))

    def published(self, uri: str | None = None) -> Store:
        """Open the store of published products, or another one in its place."""
        return self._store(uri or self.settings.published)

    def forgotten(self) -> "Forgotten":
        """Read who is forgotten; asked anew each time, since that may be said while a process runs.

        Raises:
            ForgettingError: it cannot be told.
        """
        from cv_quality.drops.forgotten import read_forgotten

        return read_forgotten(self.lake.store, self.settings.forgetting)

    @cached_property
    def registry(self) -> "ModelRegistry":
        from cv_quality.inference.registry import ModelRegistry

        settings = self.settings
        return ModelRegistry(settings.registry, modalities=self.modalities, s3=settings.s3, cache=settings.cache)

    @cached_property
    def records(self) -> Kept[Record]:
        """What verdicts say, as they were read last, by this process or another."""
        return Kept(self.settings.cache / "verdicts", Record)

    @cached_property
    def deliveries(self) -> "Kept[CompletedDrop]":
        """What manifests say of deliveries, as they were read last, by this process or another."""
        from cv_quality.drops.manifest import CompletedDrop

        return Kept(self.settings.cache / "deliveries", CompletedDrop)

    @cached_property
    def promises(self) -> "Kept[Promise]":
        """What manifests promise of the files of deliveries, as they were read last by this process."""
        return Kept()

    @cached_property
    def consents(self) -> "Kept[SaidOfConsent]":
        """What files of the lake say of consent, as they were read last, by this process or another."""
        from cv_quality.drops.consent import SaidOfConsent

        return Kept(self.settings.cache / "consents", SaidOfConsent)

    @cached_property
    def cells(self) -> Kept[tuple[list[int], list[int], list[int]]]:
        """Units, as numbers, with the errors and trials of each, of one model on one drop, as they were read last."""
        return Kept(self.settings.cache / "cells", tuple[list[int], list[int], list[int]])

    @cached_property
    def results(self) -> Kept[str]:
        """Digests of the files that stages left outside of the lake, as they were read last."""
        return Kept()

    @cached_property
    def models(self) -> dict[str, object]:
        """Models that a task has loaded, by build: once a process."""
        return {}

    def modality(self, name: str) -> Modality:
        """Find the modality called `name`.

        Raises:
            SettingsError: no task has it; the near ones are named.
        """
        if name not in self.modalities:
            raise SettingsError(f"no task evaluates modality {name!r}; {near(name, self.modalities)}")
        return self.modalities[name]

    def report_path(self, build: str) -> Path:
        return self.settings.reports / f"{build}.html"

    def _store(self, uri: str, *, is_confined: bool = False) -> Store:
        return open_store(uri, s3=self.settings.s3, cache=self.settings.cache, is_confined=is_confined)
