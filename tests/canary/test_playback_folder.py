"""The folder of a simulated run: what is emptied, what is refused, what it knows."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given

from canary.commands.options import subject
from canary.playback.folder import end_of_run, read_simulated_folder, simulated_folder
from orchestrator_resilience import ConfigurationError
from tests.proof.inputs import fuzzed, mutated

NOW = datetime(2026, 2, 14, 17, 0, tzinfo=UTC)


def test_it_knows_its_phases_and_its_time(tmp_path: Path) -> None:
    """As long as the run is not over, it has no time."""
    with simulated_folder(tmp_path / "run", "[phase2]"):
        assert (found := read_simulated_folder(tmp_path / "run")) is not None
        assert (found.now, found.phases_file.read_text()) == (None, "[phase2]")
        end_of_run(tmp_path / "run", NOW)
    assert (found := read_simulated_folder(tmp_path / "run")) is not None
    assert found.now == NOW


def test_the_next_run_empties_it(tmp_path: Path) -> None:
    """Folders in it, and what a link in it leads to stays."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("")
    path = tmp_path / "run"
    with simulated_folder(path, "[phase2]"):
        (path / "old").write_text("")
        (path / "deep" / "er").mkdir(parents=True)
        end_of_run(path, NOW)
    (path / "link").symlink_to(tmp_path / "elsewhere")
    with simulated_folder(path, "[phase2]"):
        assert sorted(file.name for file in path.iterdir()) == ["phases.toml", "simulation.json"]
    assert (tmp_path / "elsewhere" / "file").exists()


@pytest.mark.parametrize(
    "mark", [None, "", "{", "[]", '{"made_by": "somebody else"}', "[" * 100_000]
)
def test_nothing_else_is_emptied(tmp_path: Path, mark: str | None) -> None:
    """A folder without our mark, or with another's of the same name, stays as it is."""
    (tmp_path / "precious").write_text("1")
    if mark is not None:
        (tmp_path / "simulation.json").write_text(mark)
    with (
        pytest.raises(
            ConfigurationError, match=r"--out: .* is neither empty nor of an earlier run"
        ),
        _run(tmp_path),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "1"
    assert read_simulated_folder(tmp_path) is None


def test_a_file_is_refused(tmp_path: Path) -> None:
    """By its name."""
    (tmp_path / "file").write_text("1")
    with (
        pytest.raises(ConfigurationError, match=r"--out: .*file is there already"),
        _run(tmp_path / "file"),
    ):
        pass
    with (
        pytest.raises(ConfigurationError, match=r"--out: .*Not a directory"),
        _run(tmp_path / "file" / "below"),
    ):
        pass


def test_two_runs_at_once_do_not_share_it(tmp_path: Path) -> None:
    """The second is refused, and the first goes on undisturbed."""
    with _run(tmp_path / "run"):
        (tmp_path / "run" / "checkpoints.jsonl").write_text("1")
        with (
            pytest.raises(ConfigurationError, match="in use by another run"),
            _run(tmp_path / "run"),
        ):
            pass
        assert (tmp_path / "run" / "checkpoints.jsonl").read_text() == "1"
        assert read_simulated_folder(tmp_path / "run") is not None


def test_an_error_of_the_run_is_its_own(tmp_path: Path) -> None:
    """What the run itself cannot write is not blamed on --out."""
    with pytest.raises(OSError, match="disk is full"), _run(tmp_path / "run"):
        raise OSError("the disk is full")


def test_no_folder_is_no_simulated_run(tmp_path: Path) -> None:
    """Neither where none is named, nor where there is none."""
    assert not subject(None).simulated
    assert read_simulated_folder(tmp_path / "none") is None


def _run(path: Path) -> AbstractContextManager[None]:
    return simulated_folder(path, "[phase2]")


_MARK = (
    b'{"made_by": "canary, on simulated time; the next run of the same command empties this '
    b'folder", "now": "%s"}'
)


@fuzzed(50)
@given(mutated(_MARK % NOW.isoformat().encode()))
def test_a_folder_is_a_simulated_runs_or_is_not(tmp_path: Path, data: bytes) -> None:
    """Whatever its mark says."""
    (tmp_path / "simulation.json").write_bytes(data)
    folder = read_simulated_folder(tmp_path)
    assert folder is None or folder.phases_file == tmp_path / "phases.toml"
    assert folder is None or folder.now is None or folder.now.tzinfo is not None


def test_what_a_full_disk_has_left_can_be_emptied(tmp_path: Path) -> None:
    """A mark without a word in it, and nothing else, is no one's folder."""
    (tmp_path / "simulation.json").write_text("")
    with _run(tmp_path):
        assert read_simulated_folder(tmp_path) is not None
