//! Completions of the shells: clap's for the options, and each shell's own for the command behind them, as behind sudo.

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use fsmasq::cli::Arguments;

/// Stands for the options that take the next word as their value.
const WITH_VALUE: &str = "@WITH_VALUE@";

/// From the command's name on, bash is asked for that command's own completions.
const BASH: &str = r#"
_fsmasq_or_command() {
    local index=1
    while (( index < COMP_CWORD )); do
        case "${COMP_WORDS[index]}" in
            --) (( index++ )); break ;;
            @WITH_VALUE@)
                (( index++ ))
                # Bash takes `--option=value` for three words.
                [[ "${COMP_WORDS[index]}" == = ]] && (( index++ ))
                # And `--map a=b` for a few more.
                while [[ "${COMP_WORDS[index+1]}" == = ]]; do (( index += 2 )); done ;;
            --*) [[ "${COMP_WORDS[index+1]}" == = ]] && (( index += 2 )) ;;
            -*) ;;
            *) break ;;
        esac
        (( index++ ))
    done
    if (( index < COMP_CWORD )); then
        if declare -F _comp_command_offset > /dev/null; then
            _comp_command_offset "$index"
        elif declare -F _command_offset > /dev/null; then
            _command_offset "$index"
        fi
    elif (( index == COMP_CWORD )) && { [[ "${COMP_WORDS[index]}" != -* ]] || [[ "${COMP_WORDS[index-1]}" == -- ]]; }; then
        # A name with a slash is a file's; readline completes those where there is nothing else.
        COMPREPLY=()
        [[ "${COMP_WORDS[index]}" == */* ]] || COMPREPLY=($(compgen -c -- "${COMP_WORDS[index]}"))
    elif [[ "${COMP_WORDS[COMP_CWORD-1]}" == --untraced ]]; then
        COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
    else
        _fsmasq "$@"
    fi
}

complete -F _fsmasq_or_command -o bashdefault -o default fsmasq
"#;

/// The command, then what zsh knows of its arguments. Two dashes before it are among the words.
const ZSH: &str = r#"
_fsmasq_command() {
    if [[ "${words[1]}" == -- ]]; then
        shift words
        (( CURRENT-- ))
    fi
    if (( CURRENT == 1 )); then
        _command_names -e
    else
        _normal
    fi
}
"#;

/// Fish completes the rest of the line as a line of its own.
const FISH: &str = r#"
# The command and its arguments so far, without fsmasq and its options; fails where they are still being typed.
function __fsmasq_command
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case --
                set -e words[1]
                break
            case @WITH_VALUE@
                set -e words[1]
            case '-*'
            case '*'
                break
        end
        set -e words[1]
    end
    set -q words[1]; or return 1
    string escape -- $words
end

# The first word that is no option is the command; what is being typed there has no blank behind it.
function __fsmasq_complete_command
    set -l words (__fsmasq_command)
    complete --do-complete (string join ' ' -- $words (commandline --current-token --cut-at-cursor))
end

complete -c fsmasq -f -a '(__fsmasq_complete_command)'
"#;

/// Generates one; `shell` may be any that clap knows, and three are extended here.
fn generated(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "fsmasq", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

pub fn bash() -> String {
    generated(Shell::Bash) + &BASH.replace(WITH_VALUE, &with_value().join("|"))
}

pub fn zsh() -> String {
    let body = generated(Shell::Zsh).replace("_cmdambivalent", "_fsmasq_command");
    // Zsh's first line says what the file completes, and has to stay the first.
    match body.split_once('\n') {
        Some((first, rest)) => format!("{first}\n{ZSH}{rest}"),
        None => body,
    }
}

pub fn fish() -> String {
    // Options are fsmasq's only as long as no command stands before the cursor.
    let options = generated(Shell::Fish)
        .replace("complete -c fsmasq ", "complete -c fsmasq -n 'not __fsmasq_command > /dev/null' ");
    options + &FISH.replace(WITH_VALUE, &with_value().join(" "))
}

/// The long and short names of all options whose value is the next word.
fn with_value() -> Vec<String> {
    let command = Arguments::command();
    let mut names = Vec::new();
    for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
        if !argument.get_action().takes_values() || argument.is_require_equals_set() {
            continue;
        }
        names.extend(
            argument.get_long_and_visible_aliases().unwrap_or_default().iter().map(|n| format!("--{n}")),
        );
        names.extend(
            argument.get_short_and_visible_aliases().unwrap_or_default().iter().map(|n| format!("-{n}")),
        );
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_taken_for_the_command() {
        let names = with_value();
        assert!(names.iter().any(|name| name == "--map") && names.iter().any(|name| name == "--log-file"));
        assert!(!names.iter().any(|name| name == "--verbose" || name == "--doctor" || name == "-v"));
    }
}
