//! `cargo xtask schema`: docs/profile.schema.json, from the types that read profiles. Editors check a profile by it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::tools::repository;

pub fn run() -> Result<()> {
    let path = path();
    fs::write(&path, text()?).with_context(|| format!("writing {}", path.display()))
}

fn path() -> PathBuf {
    repository().join("docs/profile.schema.json")
}

fn text() -> Result<String> {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(fsmasq::Profile))?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsmasq::Profile;

    fn accepts(text: &str) -> bool {
        let schema = serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap();
        let profile: serde_json::Value = toml::from_str(text).unwrap();
        jsonschema::validator_for(&schema).unwrap().is_valid(&profile)
    }

    #[test]
    fn the_file_is_of_today() {
        let kept = fs::read_to_string(path()).unwrap();
        assert!(kept == text().unwrap(), "make it anew: cargo xtask schema");
    }

    #[test]
    fn it_accepts_what_the_program_reads() {
        assert!(accepts(&Profile::gvisor().to_toml()) && accepts(&Profile::none().to_toml()));
        assert!(accepts(&fs::read_to_string(repository().join("examples/rules.toml")).unwrap()));
    }

    #[test]
    fn it_refuses_what_the_program_refuses() {
        for text in [
            "name = \"x\"",
            "version = 2\nname = \"x\"",
            "version = 1\nname = \"x\"\nsurce = 1",
            "version = 1\nname = \"x\"\n[[file]]\npath = \"/x\"",
            "version = 1\nname = \"x\"\n[[file]]\npath = \"/x\"\nwhen = \"never\"",
        ] {
            assert!(Profile::parse(text).is_err() && !accepts(text), "{text}");
        }
    }
}
