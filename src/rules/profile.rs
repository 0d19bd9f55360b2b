//! Profiles: what a sandbox lacks, as readable TOML.

use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the format that this program reads and writes.
pub const FORMAT_VERSION: u32 = 1;

const GVISOR: &str = include_str!("../profiles/gvisor.toml");

/// Rules beyond the rewriting of types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Of the format: 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    pub version: u32,
    pub name: String,
    #[serde(default)]
    pub source: SourceRule,
    #[serde(default)]
    pub statfs: StatfsRule,
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRule>,
}

/// What the source of a masked mount looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceRule {
    /// Gives masked mounts whose source is `none`, or is shared with another device, one of their own.
    #[serde(default)]
    pub unique: bool,
}

/// What statfs(2) and fstatfs(2) answer where the kernel does not implement them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StatfsRule {
    /// Answers fstatfs with the type in the mount table, and with no sizes, in place of ENOSYS.
    #[serde(default)]
    pub by_table: bool,
}

/// A file that the sandbox lacks, or that does not take a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileRule {
    /// An absolute path, or `**/NAME` for a file of that name in any folder.
    pub path: String,
    /// With `**/NAME`: only in folders on file systems of these types, as mount tables name them. Empty: on all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    pub when: When,
    /// What the file says at first; a newline is added where there is none at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whether it can be written; what was written last is what all read from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable: bool,
    /// Another file to open in its place: an absolute path, or a name in the same folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
}

/// The condition under which a file rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The file is not there.
    Missing,
    /// It is there, but writing back its own content is answered with an error.
    WriteFails,
}

/// What a file rule gives in place of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply<'a> {
    Content(&'a str),
    StandIn(&'a str),
    /// The writes only: reads get the real file until somebody wrote.
    Writes,
}

/// Why a text is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("version {0} of the profile format; this program knows version {FORMAT_VERSION}")]
    Version(u32),
    #[error("rule for `{path}`: {problem}")]
    File { path: String, problem: &'static str },
}

impl Profile {
    /// The built-in profile `gvisor`.
    pub fn gvisor() -> Profile {
        // The built-in text is the one that the tests parse; an empty profile is never seen.
        Profile::parse(GVISOR).unwrap_or_else(|_| Profile::none())
    }

    /// The bare rewriting.
    pub fn none() -> Profile {
        Profile {
            version: FORMAT_VERSION,
            name: "none".into(),
            source: SourceRule::default(),
            statfs: StatfsRule::default(),
            files: Vec::new(),
        }
    }

    /// Reads a profile and checks that each rule makes sense.
    pub fn parse(text: &str) -> Result<Profile, ProfileError> {
        let profile: Profile = toml::from_str(text)?;
        if profile.version != FORMAT_VERSION {
            return Err(ProfileError::Version(profile.version));
        }
        for file in &profile.files {
            file.check().map_err(|problem| ProfileError::File { path: file.path.clone(), problem })?;
        }
        Ok(profile)
    }

    /// As TOML that `parse` reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|e| format!("# {e}\n"))
    }

    /// Whether any rule concerns opens for writing.
    pub fn takes_writes(&self) -> bool {
        self.files.iter().any(|f| f.writable || f.when == When::WriteFails)
    }
}

impl FileRule {
    /// What the rule gives; `check` has seen to it that exactly one of them is there.
    pub fn supply(&self) -> Supply<'_> {
        match (&self.content, &self.stand_in) {
            (Some(content), _) => Supply::Content(content),
            (None, Some(stand_in)) => Supply::StandIn(stand_in),
            (None, None) => Supply::Writes,
        }
    }

    /// Whether the rule is for the file at `path`, absolute and free of `.` and `..`.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self.path.strip_prefix("**/") {
            Some(name) => last_component(path) == name.as_bytes() && path.len() > name.len(),
            None => path == self.path.as_bytes(),
        }
    }

    /// The last component of its path: names decide which opens are worth a look.
    pub fn file_name(&self) -> &[u8] {
        last_component(self.path.as_bytes())
    }

    /// The path, where it is one and not a pattern.
    pub fn literal_path(&self) -> Option<&Path> {
        self.path.starts_with('/').then(|| Path::new(&self.path))
    }

    fn check(&self) -> Result<(), &'static str> {
        let name = self.path.strip_prefix("**/");
        let plain = |path: &str| {
            path.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")) && !path.contains('*')
        };
        if !name.map_or_else(
            || self.path.starts_with('/') && plain(&self.path),
            |n| !n.is_empty() && !n.contains(['/', '*']),
        ) {
            return Err("`path` must be absolute without `.`, `..`, `//`, or `**/NAME`");
        }
        if name.is_none() && !self.on.is_empty() {
            return Err("`on` goes with `**/NAME`; an absolute path says where it is");
        }
        if self.path.contains('\0') || self.stand_in.as_ref().is_some_and(|s| s.contains('\0')) {
            return Err("a path can't have a NUL");
        }
        match (self.when, self.supply()) {
            (When::Missing, Supply::Writes) => Err("a missing file needs `content` or `stand-in`"),
            (When::Missing, _) if self.content.is_some() && self.stand_in.is_some() => {
                Err("`content` and `stand-in` exclude each other")
            }
            (When::Missing, Supply::StandIn(_)) if self.writable => {
                Err("a stand-in is opened as it is; `writable` goes with `content`")
            }
            (When::Missing, Supply::StandIn(s)) if !s.starts_with('/') && s.contains('/') => {
                Err("`stand-in` must be an absolute path, or a name in the same folder")
            }
            (When::Missing, Supply::StandIn("")) => Err("`stand-in` is empty"),
            (When::WriteFails, Supply::Writes) if name.is_none() => Ok(()),
            (When::WriteFails, Supply::Writes) => Err("`write-fails` needs a path, not a pattern"),
            (When::WriteFails, _) => Err("`write-fails` keeps what is written: no `content`, no `stand-in`"),
            (When::Missing, _) => Ok(()),
        }
    }
}

/// What stands behind the last slash.
pub fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profile_parses_and_survives_a_round_trip() {
        let profile = Profile::parse(GVISOR).map_err(|e| e.to_string());
        assert!(profile.as_ref().is_ok_and(|p| p.files.len() == 17 && p.source.unique), "{profile:?}");
        let again = profile.as_ref().map(|p| Profile::parse(&p.to_toml()).map_err(|e| e.to_string()));
        assert_eq!(again, Ok(profile.clone()));
    }

    #[test]
    fn patterns_match_names_in_any_folder_only() {
        let rules = Profile::gvisor().files;
        let matching = |path: &[u8]| rules.iter().filter(|r| r.matches(path)).count();
        assert_eq!(matching(b"/sys/fs/cgroup/cpuacct/a/cpuacct.usage_percpu"), 1);
        assert_eq!(matching(b"/cpuacct.usage_percpu"), 1);
        assert_eq!(matching(b"/a/xcpuacct.usage_percpu"), 0);
        assert_eq!(matching(b"/dev/kmsg"), 1);
        assert_eq!(matching(b"/x/dev/kmsg"), 0);
        // A file of such a name is not missing everywhere.
        for rule in rules.iter().filter(|rule| rule.literal_path().is_none()) {
            assert!(!rule.on.is_empty() && rule.on.iter().all(|t| t.starts_with("cgroup")), "{}", rule.path);
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_with_the_reason() {
        for (rule, reason) in [
            ("path = \"a\"\nwhen = \"missing\"\ncontent = \"\"", "absolute"),
            ("path = \"/a/../b\"\nwhen = \"missing\"\ncontent = \"\"", "absolute"),
            ("path = \"/a\"\nwhen = \"missing\"", "needs `content`"),
            ("path = \"/a\"\nwhen = \"missing\"\ncontent = \"\"\nstand-in = \"/b\"", "exclude"),
            ("path = \"/a\"\nwhen = \"missing\"\nstand-in = \"b/c\"", "same folder"),
            ("path = \"/a\"\nwhen = \"write-fails\"\ncontent = \"1\"", "keeps what is written"),
            ("path = \"**/a\"\nwhen = \"write-fails\"", "not a pattern"),
            ("path = \"/a\"\non = [\"cgroup\"]\nwhen = \"missing\"\ncontent = \"\"", "`on` goes with"),
            ("path = \"/a\"\nwhen = \"sometimes\"", "unknown variant"),
            ("path = \"/a\"\nwhen = \"missing\"\ncontents = \"1\"", "unknown field"),
        ] {
            let text = format!("version = 1\nname = \"x\"\n[[file]]\n{rule}\n");
            let error = Profile::parse(&text).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(reason), "{rule}: {error}");
        }
        assert!(matches!(Profile::parse("version = 2\nname = \"x\"\n"), Err(ProfileError::Version(2))));
    }
}
