//! The command that starts a node, put together from what was given and what was found.

use super::finding::Remedy;
use crate::rules::{FsType, Rules};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// An option of fsmasq's and its value: all that matter here have one.
type Pair = Vec<String>;

/// k3s with the arguments that were found to be needed; below fsmasq where `is_needed`, or where options ask for it.
pub fn starting_a_node<'a>(
    given: &[String],
    is_needed: bool,
    remedies: impl Iterator<Item = &'a Remedy>,
) -> Vec<String> {
    let mut options = pairs(given);
    let mut arguments: Vec<String> = Vec::new();
    for remedy in remedies {
        match remedy {
            Remedy::Options(words) => {
                pairs(words).into_iter().for_each(|pair| add_option(&mut options, pair))
            }
            Remedy::Arguments(words) => words.iter().for_each(|word| add(&mut arguments, word.clone())),
            Remedy::First(_) | Remedy::Better(_) => {}
        }
    }
    let mut words = Vec::new();
    if is_needed || !options.is_empty() {
        words.push("fsmasq".to_owned());
        words.extend(options.concat());
    }
    words.extend(["k3s", "server"].map(str::to_owned));
    words.extend(arguments);
    words
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn pairs(options: &[String]) -> Vec<Pair> {
    options.chunks(2).map(<[String]>::to_vec).collect()
}

/// Adds an option as a user would: there is one profile, and a first mapping replaces the one that needs no option.
fn add_option(options: &mut Vec<Pair>, new: Pair) {
    match new[0].as_str() {
        "--profile" => options.retain(|option| option[0] != "--profile"),
        "--map" if options.iter().all(|option| option[0] != "--map") => {
            options.push(["--map", "9p=ext4"].map(str::to_owned).to_vec());
        }
        _ => {}
    }
    add(options, new);
}

/// The options that say what the rules say.
pub fn given_options(rules: &Rules, profile: Option<String>) -> Vec<String> {
    let mut options: Vec<String> = profile.into_iter().flat_map(|name| ["--profile".into(), name]).collect();
    let default = Rules::default();
    if rules.mappings != default.mappings {
        for mapping in &rules.mappings {
            options.extend(["--map".into(), format!("{}={}", named(&mapping.from), named(&mapping.to))]);
        }
    }
    for (option, places) in [("--only", &rules.scope.only), ("--except", &rules.scope.except)] {
        for place in places {
            let place = OsStr::from_bytes(place).to_string_lossy().into_owned();
            options.extend([option.into(), place]);
        }
    }
    options
}

/// As `--map` takes it.
fn named(fstype: &FsType) -> String {
    match FsType::known(fstype.name()) {
        Some(known) if known == *fstype => fstype.name().to_owned(),
        _ => format!("{}:{:#x}", fstype.name(), fstype.magic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_were_given_are_given_again() -> Result<(), Box<dyn std::error::Error>> {
        let mut rules =
            Rules { mappings: vec!["fuse=ext4".parse()?, "odd:0x17=ext4".parse()?], ..Rules::default() };
        rules.scope.only = vec![b"/var".to_vec()];
        let words = starting_a_node(&given_options(&rules, None), false, std::iter::empty()).join(" ");
        assert_eq!(words, "fsmasq --map fuse=ext4 --map odd:0x17=ext4 --only /var k3s server");
        Ok(())
    }
}
