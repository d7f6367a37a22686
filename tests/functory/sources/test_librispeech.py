"""LibriSpeech in its own layout: which utterances there are, whose, and in which partition."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from functory.errors import InputError
from functory.sources.librispeech import LibriSpeech, find_librispeech, list_librispeech

UTTERANCES = [
    ("train-clean-100", "103", "1240", 2),
    ("train-clean-100", "103", "1241", 1),
    ("dev-clean", "84", "121123", 1),
    ("test-clean", "61", "70968", 2),
]
TABLE = """; comments, with | and | in them
;ID  |SEX| SUBSET           |MINUTES| NAME
61   | M | test-clean       |  8.08 | Paul-Gabriel Wiener
84   | F | dev-clean        |  8.02 | Christie Nowak
103  | F | train-clean-100  | 18.02 | A | B
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Make the corpus's layout, with silence in it, and return the folder that it lies in."""
    for subset, speaker, chapter, count in UTTERANCES:
        folder = tmp_path / "LibriSpeech" / subset / speaker / chapter
        folder.mkdir(parents=True)
        names = [f"{speaker}-{chapter}-{number:04d}" for number in range(count)]
        for name in names:
            soundfile.write(folder / f"{name}.flac", np.zeros(160), 16_000)
        text = "".join(f"{name} WORDS OF {name}\n" for name in names)
        (folder / f"{speaker}-{chapter}.trans.txt").write_text(text)
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text(TABLE)
    return tmp_path


def test_utterances_have_their_speaker_chapter_text_and_sex(corpus: Path) -> None:
    found = list_librispeech(find_librispeech(LibriSpeech(path=str(corpus))))
    assert sorted(r.name for r in found) == [
        "103-1240-0000",
        "103-1240-0001",
        "103-1241-0000",
        "61-70968-0000",
        "61-70968-0001",
        "84-121123-0000",
    ]
    sexes = {"61": "male", "84": "female", "103": "female"}
    for recording in found:
        speaker, chapter, utterance = recording.name.split("-")
        assert recording.origin == {
            "speaker": speaker,
            "chapter": chapter,
            "utterance": utterance,
            "transcript": f"WORDS OF {recording.name}",
            "sex": sexes[speaker],
        }


def test_subsets_are_the_corpus_s_own_split(corpus: Path) -> None:
    found = list_librispeech(find_librispeech(LibriSpeech(path=str(corpus))))
    splits = {recording.origin["speaker"]: recording.split for recording in found}
    assert splits == {"103": "train", "84": "validation", "61": "test"}


def test_the_folder_may_be_the_corpus_s_or_the_one_around_it(corpus: Path) -> None:
    around, itself = (
        find_librispeech(LibriSpeech(path=str(path))) for path in (corpus, corpus / "LibriSpeech")
    )
    assert around == itself


def test_only_the_subsets_that_are_asked_for(corpus: Path) -> None:
    source = LibriSpeech(path=str(corpus), subsets=("dev-clean", "test-clean"))
    files = find_librispeech(source)
    assert {path.parts[-4] for path in files[:-1]} == {"dev-clean", "test-clean"}
    assert len(list_librispeech(files)) == 3
    with pytest.raises(InputError, match=r"'dev-other'.*dev-clean, test-clean, train-clean-100"):
        find_librispeech(LibriSpeech(path=str(corpus), subsets=("dev-other",)))


def test_what_is_no_utterance_is_left_out(corpus: Path) -> None:
    folder = corpus / "LibriSpeech" / "test-clean" / "61" / "70968"
    (folder / "61-70968-0000.flac").rename(folder / "61-70969-0000.flac")  # of another chapter
    (folder / "noise.flac").write_bytes(b"")
    found = list_librispeech(find_librispeech(LibriSpeech(path=str(corpus))))
    assert [r.name for r in found if r.split == "test"] == ["61-70968-0001"]


def test_tables_are_optional_and_damaged_ones_refused(corpus: Path) -> None:
    table = corpus / "LibriSpeech" / "SPEAKERS.TXT"
    table.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"SPEAKERS.TXT cannot be read as text"):
        list_librispeech(find_librispeech(LibriSpeech(path=str(corpus))))
    table.unlink()
    found = list_librispeech(find_librispeech(LibriSpeech(path=str(corpus))))
    assert all("sex" not in recording.origin for recording in found)


def test_a_folder_without_the_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LibriSpeech found"):
        find_librispeech(LibriSpeech(path=str(tmp_path)))


def test_the_real_corpus(data: Path) -> None:
    files = find_librispeech(LibriSpeech(path=str(data / "audio")))
    found = list_librispeech(files)
    assert len(found) == 60
    assert {r.origin["speaker"] for r in found} == {"1688", "1998", "2033", "2609", "3005", "3080"}
    assert {r.split for r in found} == {"test"}
    few = found[0].read(0.5)
    assert few.rate == 16_000
    assert few.values.shape == (8_000, 1)
    reference, _ = soundfile.read(files[0], dtype="float32")
    np.testing.assert_array_equal(few.values[:, 0], reference[:8_000])
