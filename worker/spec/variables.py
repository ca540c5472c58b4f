"""Names of environment variables in a job document."""

import re

VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
"""A name that every shell can read and set (POSIX, "Name"). No other name can be passed safely: a
line feed or an equals sign in a name would start another variable wherever they are listed."""
VARIABLE_EXPECTED = "the name of a variable: letters, digits and _, not starting with a digit"

_VARIABLE = re.compile(VARIABLE)
_KNOWN = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|PWD|LANG|TZ|TMPDIR|TERM|IFS|HOSTNAME|S3_ENDPOINT|"
    "VIRTUAL_ENV|PYTHON[A-Z]+|(LC|LD|AWS|PACH|PPS|PFS|CUDA|NVIDIA)_[A-Z0-9_]*|(https?|no)_proxy|"
    "(HTTPS?|NO)_PROXY"
)
_SHELL = re.compile(
    "PATH|HOME|SHELL|IFS|ENV|CDPATH|R?PS[0-9]|PROMPT.*|[RS]PROMPT.*|prompt|BASH.*|SHELLOPTS|ZDOTDIR|ZSH.*|"
    "ZLS_.*|NULLCMD|READNULLCMD|FPATH|MODULE_PATH|HIST.*|FCEDIT|MAIL.*|TMOUT|INPUTRC|PPID|E?[UG]ID|"
    "POSIXLY_CORRECT|_|(LD|DYLD)_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|TERMINFO.*|TERMCAP|"
    # An assignment to one of these, or its use by the shell, evaluates an arithmetic expression,
    # with its substitutions of commands; or the shell computes it, and ignores the value.
    "OPT(ARG|IND|ERR)|S?RANDOM|SECONDS|EPOCH(SECONDS|REALTIME)|LINENO|SHLVL|FUNC(NAME|NEST)|GROUPS|"
    "DIRSTACK(SIZE)?|REPORT(TIME|MEMORY)|COMP(REPLY|_.*)|READLINE_.*|KEYTIMEOUT|LISTMAX|LOGCHECK|SAVEHIST|"
    "JOBMAX|ERRNO|TTYIDLE|TRY_BLOCK_.*|WATCH(FMT)?|TIME(FMT|FORMAT)|POSTEDIT|STTY|(GLOB|EXEC|F)IGNORE"
)


def is_variable(name: str) -> bool:
    """Whether a shell can read a variable of this name."""
    return _VARIABLE.fullmatch(name) is not None


def is_known(name: str) -> bool:
    """Whether programs give the variable *name* a meaning, which an input must not replace."""
    return _KNOWN.fullmatch(name) is not None


def is_of_shell(name: str) -> bool:
    """Whether a shell, or the loader of its programs, runs or reads what the variable *name* says.

    A shell that takes such a variable from a document may run the document's commands, for example
    as its prompt.
    """
    return _SHELL.fullmatch(name) is not None
