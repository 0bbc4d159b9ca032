"""What is meant by a key that does not exist: the setting of this name in another place, or of another name."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import fields

from lossfleet.conf.elsewhere import BESIDE, SETTINGS, WITHOUT
from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import unknown_setting
from lossfleet.conf.schema import PART_GROUPS, SECTION_FIELDS, SECTIONS, Config
from lossfleet.sweeps.planning.compose import Composer


def check_key(composer: Composer, key: str, value: str) -> None:
    """Raises UserError unless a key begins with a section or group that can be set."""
    known = [*(each.name for each in fields(Config)), "experiment"]
    first, _, setting = key.partition(".")
    if first not in known:
        raise unknown_key(composer, key, value, known)
    if first in SECTIONS and setting:
        in_section = [each.name for each in fields(SECTIONS[first])]
        is_known = setting.partition(".")[0] in in_section or composer.owners(first, setting)
        if not is_known and meant_settings(composer, key):
            raise unknown_key(composer, key, value, [])


def unknown_key(composer: Composer, key: str, value: str, known: Iterable[str], *, of: str = "") -> UserError:
    """The error for a key that nothing has, with what is meant by it.

    Args:
        composer: reads the YAML files.
        key: as it is written.
        value: that it was given.
        known: the keys that there are in its place.
        of: who does not have it.
    """
    hint = WITHOUT.get(key.rpartition(".")[2].lower())
    meant = [] if hint else meant_settings(composer, key)
    if not meant:
        return unknown_setting(key, known, of=of, hint=hint)
    written = [
        " ".join([*([BESIDE[each]] if each in BESIDE else []), shlex.quote(f"{each}={value}")])
        for each in meant
    ]
    return UserError(
        what=f"there is no setting {key}" + (f" for {of}" if of else ""),
        expected=" or ".join(each + _owners(composer, each) for each in meant),
        hint=f"write {' or '.join(written)}",
    )


def _owners(composer: Composer, key: str) -> str:
    """Which files of a group have a setting, where not all have it."""
    group, _, setting = key.rpartition(".")
    owners = composer.owners(group, setting) if group in PART_GROUPS else []
    return f", of {group}={' or '.join(owners)}" if 0 < len(owners) < len(composer.groups[group]) else ""


def meant_settings(composer: Composer, key: str) -> list[str]:
    """The settings that a key may mean."""
    word = key.rpartition(".")[2].lower()
    if SETTINGS.get(word, key) != key:
        return [SETTINGS[word]]
    in_sections = [name for name, kind in SECTIONS.items() if word in {each.name for each in fields(kind)}]
    in_files = [group for group in PART_GROUPS if composer.owners(group, word)]
    found = dict.fromkeys((*in_sections, *in_files)) or [
        group for group in SECTION_FIELDS if composer.owners(group, word)
    ]
    return [meant for name in found if word != name and (meant := f"{name}.{word}") != key]
