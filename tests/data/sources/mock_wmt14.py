"""A small WMT14: the real `wmt14_translate` builder prepares array_record files from texts."""

import html
import sys
from importlib.machinery import PathFinder
from unittest import mock


def hide(*packages):
  """Hides packages from this process; call it before anything imports them."""
  assert not set(packages) & set(sys.modules)

  class Finder:
    """Finds modules as usual, except the hidden ones."""

    find_distributions = PathFinder.find_distributions  # packages still know their versions

    @staticmethod
    def find_spec(name, path=None, target=None):
      return None if name.split(".")[0] in packages else PathFinder.find_spec(name, path, target)

  sys.meta_path[sys.meta_path.index(PathFinder)] = Finder


def prepare_wmt14(folder, train, valid, test):
  """Prepares `wmt14_translate/de-en` from (English, German) pairs; returns its folder."""
  import tensorflow_datasets as tfds
  import tensorflow_datasets.translate

  downloads = folder / "downloads"
  data_dir = folder / "tfds"
  _write_downloads(downloads, train, valid, test)

  def every_url_is_here(_, urls):
    if isinstance(urls, dict):
      return {name: every_url_is_here(_, part) for name, part in urls.items()}
    return [downloads] * len(urls) if isinstance(urls, (list, tuple)) else downloads

  manager = tfds.download.DownloadManager
  fakes = dict(download_and_extract=every_url_is_here, extract=every_url_is_here)
  with mock.patch.multiple(manager, **fakes):
    builder = tfds.builder("wmt14_translate/de-en", data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
  return data_dir


def _write_downloads(folder, train, valid, test):
  """Writes the archives' files: one training pair in each small corpus, the others in Europarl."""
  parts = {
    "training/europarl-v7.de-en": train[:-2],
    "commoncrawl.de-en": train[-2:-1],
    "training/news-commentary-v9.de-en": train[-1:],
    "dev/newstest2013": valid,
  }
  for name, pairs in parts.items():
    for side, language in enumerate(("en", "de")):
      _write(folder / f"{name}.{language}", "".join(f"{pair[side]}\n" for pair in pairs))
  for side, name in enumerate(("ref.en", "src.de")):
    lines = []
    for number, pair in enumerate(test, 1):
      lines.append(f'<seg id="{number}">{html.escape(pair[side])}</seg>\n')
    _write(folder / f"dev/newstest2014-deen-{name}.sgm", "".join(lines))


def _write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(text.encode())
