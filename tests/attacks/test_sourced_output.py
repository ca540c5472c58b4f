"""Output that users source or paste: names and values of a document run no commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli.serving import _print_exports
from worker.spec.variables import is_of_shell
from worker.text import escape_controls, export_line

SHELLS = [name for name in ("sh", "dash", "bash", "zsh", "busybox", "ksh") if shutil.which(name)]
DOCUMENT = {
    "pipeline": {"name": "copy"},
    "input": {"pfs": {"repo": "labresults", "glob": "/"}},
    "transform": {"cmd": ["true"]},
}
HOSTILE = {
    "substitution": "$(touch canary)",
    "backticks": "`touch canary`",
    "line feed": "\ntouch canary\n",
    "line feeds at the end": "a\n\n\n",
    "carriage return": "\r\ntouch canary",
    "quote": "'; touch canary; '",
    "quote and line feed": "'\ntouch canary\n'",
    "double quote": '"; touch canary; "',
    "backslash": "\\",
    "backslash and line feed": "\\\n",
    "escape and quote": "\x1b'; touch canary #",
    "escape and format": "\x1b%s%n\\c\\047; touch canary",
    "option": "-v canary\x01",
    "history": "!!",
    "braces": "{a,b} ~ * ?[x]",
    "operators": "a; touch canary & touch canary | touch canary > canary",
    "comment": "# a\ntouch canary",
    "variable": "$PATH ${PATH} $((1+1))",
    "tab": "a\tb",
    "C1": "\x9b31m",
    "bidirectional override": "\u202etouch canary",
    "line separator": "a\u2028touch canary",
    "no UTF-8": "a\udcff\n",
    "empty": "",
    "points": "...",
}


def sourced(tmp_path, shell, lines, names):
    """Return the values that programs get from a *shell* that has sourced *lines*."""
    file = tmp_path / "exports"
    file.write_text("".join(f"{line}\n" for line in lines), errors="surrogateescape")
    show = f"import os; print(*(os.environb[n.encode()].hex() for n in {list(names)}))"
    command = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run(
        [*command, "-euc", f'. {file}; exec {sys.executable} -c "$1"', "sh", show],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    return [os.fsdecode(bytes.fromhex(value)) for value in done.stdout.decode()[:-1].split(" ")]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_sources_a_value_gets_exactly_this_value(tmp_path, shell):
    """Whatever its characters are; no command runs."""
    values = {f"V{number}": value for number, value in enumerate(HOSTILE.values())}

    found = sourced(tmp_path, shell, (export_line(*each) for each in values.items()), values)

    assert list(values.values()) == found
    assert not (tmp_path / "canary").exists()


@given(st.text(st.characters(exclude_characters="\0")))
def test_the_export_of_a_value_is_one_line_without_control_characters(value):
    """So that a program which reads the lines one by one gets no line from a value."""
    line = export_line("NAME", value)

    assert line == escape_controls(line, keep="")
    assert line.startswith("export NAME=")


@pytest.mark.parametrize(
    "name",
    ["A\ntouch canary", "A;touch canary", "A=B", "$(touch canary)", "", "1A", "A B", "Ä", "A-B"],
)
@pytest.mark.parametrize("where", ["env", "envVar"])
def test_a_name_that_no_shell_can_read_is_an_error_of_the_document(worker, tmp_path, name, where):
    """The error has a pointer to it."""
    secret = {"name": "n", "key": "k", "envVar": name}
    more = {"env": {name: "x"}} if where == "env" else {"secrets": [secret]}
    document = {**DOCUMENT, "transform": {"cmd": ["true"], **more}}
    (tmp_path / "job.json").write_text(json.dumps(document))

    done = worker("validate", "--json", "job.json")

    (error,) = json.loads(done.out)["errors"]
    # What follows an equals sign may be a secret.
    pointer = (
        f"/transform/env/{name.partition('=')[0]}"
        if where == "env"
        else "/transform/secrets/0/envVar"
    )
    # The zero value of proto3 is no value.
    pointer = "/transform/secrets/0" if (where, name) == ("envVar", "") else pointer
    assert pointer == error["pointer"]
    assert 64 == done.status


OF_A_SHELL = [
    "PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS3", "PS4", "RPS1", "PROMPT", "RPROMPT", "BASH_ENV",
    "ENV", "ZDOTDIR", "PATH", "CDPATH", "IFS", "LD_PRELOAD", "LD_LIBRARY_PATH", "UID", "SHELLOPTS",
    "BASH_FUNC_ls", "HISTFILE", "HOME", "INPUTRC", "MAILPATH", "TMOUT", "RANDOM", "SRANDOM",
    "SECONDS", "REPORTTIME", "REPORTMEMORY", "DIRSTACKSIZE", "SPROMPT", "prompt",
]  # fmt: skip
# Those of bash(1), zshparam(1) and ksh(1) that are not above.
PARAMETERS = [
    "COLUMNS", "COMPREPLY", "COMP_CWORD", "COMP_WORDBREAKS", "COPROC", "DIRSTACK", "EMACS",
    "EPOCHREALTIME", "EPOCHSECONDS", "ERRNO", "EXECIGNORE", "FIGNORE", "FUNCNAME", "FUNCNEST",
    "GLOBIGNORE", "GLOBSORT", "GROUPS", "HISTCMD", "HOSTFILE", "HOSTNAME", "IGNOREEOF",
    "JOBMAX", "KEYTIMEOUT", "LANG", "LC_ALL", "LINENO", "LINES", "LISTMAX", "LOGCHECK",
    "MAPFILE", "OLDPWD", "OPTERR", "OPTIND", "PIPESTATUS", "POSTEDIT", "PWD", "READLINE_LINE",
    "READLINE_POINT", "REPLY", "SAVEHIST", "SHLVL", "STTY", "TERM", "TIMEFMT", "TIMEFORMAT",
    "TRY_BLOCK_ERROR", "TTYIDLE", "VISUAL", "WATCH", "WATCHFMT", "WORDCHARS", "argv",
    "auto_resume", "cdpath", "fignore", "fpath", "histchars", "manpath", "module_path",
    "options", "parameters", "path", "psvar", "reply", "status", "watch", "words",
]  # fmt: skip


@pytest.mark.parametrize("name", OF_A_SHELL)
def test_a_gateway_exports_no_variable_that_a_shell_runs(capsys, name):
    """A prompt, for example, is expanded, with its substitutions of commands."""
    _print_exports({"S3_ENDPOINT": "http://localhost:1", name: "$(touch canary)"})

    printed = capsys.readouterr()
    assert "export S3_ENDPOINT=http://localhost:1\n" == printed.out
    assert name in printed.err


@pytest.mark.parametrize("shell", SHELLS)
def test_no_exported_value_is_evaluated(tmp_path, shell):
    """Shells compute some variables: an assignment to them is an arithmetic expression.

    This is a test of all variables that the shell has, and of those in manuals.
    """
    command = [shell, "sh"] if shell == "busybox" else [shell]
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=False)
    known = run([*command, "-c", "set; echo; typeset"]).stdout
    names = {*OF_A_SHELL, *PARAMETERS, *re.findall(r"\b([A-Za-z_]\w*)=", known)}
    exported = sorted(name for name in names if not is_of_shell(name))
    lines = [
        f"({export_line(name, f'a[$(touch canary.{name}.{kind})]{end}')}; ls)"
        for name in exported
        for kind, end in (("quoted", ""), ("escaped", "\x01"))
    ]
    (tmp_path / "script").write_text("\n".join(lines))

    run([*command, "script"])

    assert [] == sorted(each.name for each in tmp_path.glob("canary*"))


def test_a_gateway_exports_no_name_that_is_none(capsys):
    """Such a name is reported without its control characters."""
    _print_exports({"A\ntouch canary": "1", "a-b": "\ntouch canary"})

    printed = capsys.readouterr()
    assert "" == printed.out
    assert 1 == printed.err.count("\n")
    assert "A\\ntouch canary, a-b" in printed.err


@pytest.mark.parametrize(
    "name", ["S3_ENDPOINT", "AWS_SECRET_ACCESS_KEY", "PFS_ROOT", "PACH_JOB_ID", "labresults", "A"]
)
def test_other_variables_are_exported(name):
    assert not is_of_shell(name)


def test_a_suggested_command_quotes_what_it_repeats(worker, tmp_path):
    """It can be pasted."""
    ref = "labresults:$(touch canary);'"
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a").write_text("a")
    worker("put", ref, folder)
    worker("put", f"{ref}/a/b", folder / "a")

    read = worker("cat", ref)
    written = worker("get", ref, tmp_path / "target")

    for line in (read.err, written.err):
        suggested = line.partition("`worker ")[2].partition("` ")[0]
        words = subprocess.run(
            ["sh", "-c", f'printf "%s\\n" {suggested}'], capture_output=True, text=True, check=True
        ).stdout.split("\n")
        assert ref in [word.replace("@master", "") for word in words]
