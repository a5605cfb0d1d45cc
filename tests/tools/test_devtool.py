#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""./devtool's words: help and wrong words are answered before anything is installed or built."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ("apt-get", "apt-cache", "dpkg-query", "sudo", "meson", "ninja", "python3", "unshare", "clang-format", "git")


class DevtoolTest(unittest.TestCase):
    def setUp(self):
        """A search path on which whatever does work leaves a mark and fails."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.mark = Path(folder.name) / "worked"
        for name in WORKERS:
            program = Path(folder.name) / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.mark}\nexit 1\n')
            program.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{folder.name}:{os.environ['PATH']}"}

    def devtool(self, *words):
        run = subprocess.run([ROOT / "devtool", *words], capture_output=True, text=True, timeout=20,
                             stdin=subprocess.DEVNULL, env=self.environment)
        self.assertFalse(self.mark.exists(), self.mark.exists() and self.mark.read_text())
        return run

    def verbs(self):
        return [line.split()[0] for line in self.devtool("help").stdout.splitlines() if line.startswith("  ")]

    def test_each_verb_explains_itself(self):
        self.assertIn("demo", self.verbs())
        for verb in self.verbs():
            for words in ((verb, "--help"), (verb, "-h")):
                run = self.devtool(*words)
                self.assertEqual((run.returncode, run.stderr), (0, ""), words)
                self.assertTrue(run.stdout.startswith(f"usage: ./devtool {verb}"), run.stdout)
        self.assertIn("[--hotspot cpu|bandwidth|swap]", self.devtool("demo", "move", "--help").stdout)

    def test_wrong_words_are_told_at_once(self):
        for words, says in (
                (("check", "--fast"), "no option --fast"), (("build", "all"), "'all' is one word too many"),
                (("demo", "--hosts", "9"), "--hosts takes 2|3"), (("demo", "--hotspot=disk"), "not 'disk'"),
                (("demo", "mvoe"), "'mvoe' is one word too many"), (("demo", "move", "--json"), "no option --json"),
                (("bench",), "one of these"), (("bench", "all"), "one of these"),
                (("bench", "cost", "--runs"), "--runs takes a number"), (("fuzz", "long"), "not a number"),
                (("bench", "fleet", "--planner"), "--planner takes NAME"), (("lab", "--kernel", "5"), "not '5'"),
                (("lab", "cluster", "--filter"), "--filter takes TEXT")):
            run = self.devtool(*words)
            self.assertEqual((run.returncode, run.stdout), (2, ""), words)
            self.assertIn(says, run.stderr)
            self.assertIn(f"usage: ./devtool {words[0]}", run.stderr)

    def test_verbs_that_are_none(self):
        for verb in ("lib", "usage", "../x", "nope"):
            run = self.devtool(verb)
            self.assertEqual(run.returncode, 2)
            self.assertIn("no such verb", run.stderr)


if __name__ == "__main__":
    unittest.main()
