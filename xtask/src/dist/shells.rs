//! Completions, asked for in the shells themselves. `numfmt` stands for a command with a completion of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::rows::{Rows, has};
use super::write;
use crate::test::is_on_path;
use crate::tools::run;

/// What is typed, what the line or the list of candidates then has, and what that shows.
const LINES: &[(&str, &str, &str)] = &[
    ("fsmasq --print-pro", "--print-profile", "an option"),
    ("fsmasq --log-format j", "json", "a value"),
    ("fsmasq --profile /etc/passw", "/etc/passwd", "a file as a value"),
    ("fsmasq -v --untraced numfm", "numfmt", "a program as a value"),
    ("fsmasq -v numfm", "numfmt", "the command"),
    (
        "fsmasq -v --log-file /tmp/log numfmt alpha",
        "alphabetical",
        "an argument of the command, as the command has it",
    ),
    ("fsmasq -- numfmt alpha", "alphabetical", "the same behind two dashes"),
    ("fsmasq --map 9p=ext4 numfmt alpha", "alphabetical", "the same behind a mapping"),
];

const BASH: &str = r#"
. /usr/share/bash-completion/bash_completion
. "$1"
complete -W alphabetical numfmt
COMP_LINE=$2 COMP_POINT=${#2}
# As readline cuts it: an equals sign is a word.
read -ra COMP_WORDS <<< "${2//=/ = }"
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
entry=$(complete -p fsmasq)
[[ $entry =~ -F\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" fsmasq "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2> /dev/null
# Files are readline's default, where the function names nothing.
(( ${#COMPREPLY[@]} )) || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// A shell at a terminal of its own, in which a key completes and shows the line.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell "TERM=dumb zsh -f -i"
zpty -w shell "PS1= PS2= RPS1="
zpty -w shell "fpath=(${(q)1} \$fpath); autoload -U compinit; compinit -u -D"
zpty -w shell "_alphabet() { compadd alphabetical }; compdef _alphabet numfmt"
zpty -w shell "show() { zle complete-word; print -r -- \"line<\$BUFFER>\" }; zle -N show; bindkey '^X' show"
zpty -w shell "print -r -- rea''dy"
zpty -r -m shell said '*ready'
zpty -w -n shell "$2"$'\C-x'
zpty -r -m shell said '*line<*>*'
print -r -- "$said"
zpty -d shell
"#;

const FISH: &str = "source $argv[1]; complete -c numfmt -f -a alphabetical; complete --do-complete $argv[2]";

pub fn all(tree: &Path, rows: &mut Rows, scratch: &Path) -> Result<()> {
    let share = tree.join("usr/share");
    let shells = [
        (
            "bash",
            BASH,
            share.join("bash-completion/completions/fsmasq"),
            "/usr/share/bash-completion/bash_completion",
        ),
        ("zsh", ZSH, share.join("zsh/vendor-completions"), "/usr/share/zsh"),
        ("fish", FISH, share.join("fish/vendor_completions.d/fsmasq.fish"), "/usr/share/fish"),
    ];
    // What is typed is completed from where it is: nothing but the files of our own.
    for (shell, script, completions, needed) in shells {
        if !is_on_path(shell) || !Path::new(needed).exists() {
            rows.skip(&format!("{shell} completes"), &format!("{shell} and its completions"));
            continue;
        }
        let file = scratch.join(format!("complete.{shell}"));
        write(&file, script)?;
        for (line, expected, what) in LINES {
            // A shell that waits for more than there is, is ended.
            let mut command = Command::new("timeout");
            command.args(["30", shell]).args(quiet(shell)).arg(&file).arg(&completions).arg(line);
            command.current_dir(scratch).env("HOME", scratch).env("LC_ALL", "C.UTF-8");
            let outcome = run(&mut command)
                .and_then(|said| has(&said, &[expected]))
                .with_context(|| format!("typed: {line}"));
            rows.check(&format!("{shell} completes {what}"), outcome);
        }
    }
    Ok(())
}

/// Without the user's own settings.
fn quiet(shell: &str) -> &'static [&'static str] {
    match shell {
        "bash" => &["--noprofile", "--norc"],
        "zsh" => &["-f"],
        _ => &["--no-config"],
    }
}
