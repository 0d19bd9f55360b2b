//! What the doctor says of one thing.

use nix::errno::Errno;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// Part of the machine; the heads of the table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    Sandbox,
    Prefix,
    Mounts,
    Files,
    Cgroups,
    Containers,
    Network,
}

impl Area {
    pub fn title(self) -> &'static str {
        match self {
            Area::Sandbox => "Sandbox",
            Area::Prefix => "What fsmasq itself needs",
            Area::Mounts => "File systems",
            Area::Files => "Files of the kernel",
            Area::Cgroups => "Control groups",
            Area::Containers => "Containers",
            Area::Network => "Network",
        }
    }
}

/// What to do, by how much depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// Arguments for k3s: with them a node can run.
    Arguments(Vec<String>),
    /// Other options for fsmasq: with those that were given, a node can't run.
    Options(Vec<String>),
    /// Before this is done, a node can't run.
    First(String),
    /// A node runs without it; something that pods may want does not.
    Better(String),
}

impl Remedy {
    /// What is pasted, and where.
    pub fn line(&self) -> String {
        match self {
            Remedy::Arguments(words) | Remedy::Options(words) => words.join(" "),
            Remedy::First(line) | Remedy::Better(line) => line.clone(),
        }
    }

    /// Whether a node can't run before.
    pub fn blocks(&self) -> bool {
        matches!(self, Remedy::Options(_) | Remedy::First(_))
    }
}

/// Whose business a thing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Nobody's: it is as a node needs it.
    Fine,
    /// fsmasq's, with these options.
    Fsmasq,
    /// The user's.
    ToDo(Remedy),
    /// It could not be looked at.
    Unknown,
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Fine => "fine",
            Verdict::Fsmasq => "fsmasq",
            Verdict::ToDo(_) => "to do",
            Verdict::Unknown => "?",
        }
    }

    pub fn remedy(&self) -> Option<&Remedy> {
        match self {
            Verdict::ToDo(remedy) => Some(remedy),
            Verdict::Fine | Verdict::Fsmasq | Verdict::Unknown => None,
        }
    }

    /// Arguments for k3s.
    pub fn arguments(words: &[&str]) -> Verdict {
        Verdict::ToDo(Remedy::Arguments(words.iter().map(|word| (*word).to_owned()).collect()))
    }

    /// Options for fsmasq.
    pub fn options(words: &[&str]) -> Verdict {
        Verdict::ToDo(Remedy::Options(words.iter().map(|word| (*word).to_owned()).collect()))
    }

    pub fn first(line: impl Into<String>) -> Verdict {
        Verdict::ToDo(Remedy::First(line.into()))
    }

    pub fn better(line: impl Into<String>) -> Verdict {
        Verdict::ToDo(Remedy::Better(line.into()))
    }
}

/// One line of the table. It comes from a child, so it can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub area: Area,
    pub what: String,
    pub seen: String,
    pub verdict: Verdict,
    /// Who asks for it, or what happens without; one short sentence without a full stop.
    pub why: String,
}

impl Finding {
    pub fn new(
        area: Area,
        what: impl Into<String>,
        seen: impl Into<String>,
        verdict: Verdict,
        why: &str,
    ) -> Finding {
        Finding { area, what: what.into(), seen: seen.into(), verdict, why: why.into() }
    }

    /// `Fine` where the kernel did it, otherwise the verdict given; the kernel's answer is what is seen.
    pub fn of_try(area: Area, what: &str, tried: nix::Result<()>, otherwise: Verdict, why: &str) -> Finding {
        match tried {
            Ok(()) => Finding::new(area, what, "works", Verdict::Fine, why),
            Err(errno) => Finding::new(area, what, text_of(errno), otherwise, why),
        }
    }
}

/// What is seen of a thing where not even a trial is allowed.
pub const ONLY_ROOT: &str = "only root can try it";

/// The same where there is no procfs.
pub const NO_PROC: &str = "not told: no /proc";

/// As strerror(3) says it.
pub fn text_of(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// As users of the JSON get it.
pub struct Shown<'a>(pub &'a Finding);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let finding = self.0;
        let remedy = finding.verdict.remedy();
        let word = if finding.verdict == Verdict::Unknown { "unknown" } else { finding.verdict.word() };
        let mut object = serializer.serialize_struct("Finding", 7)?;
        object.serialize_field("area", &finding.area)?;
        object.serialize_field("what", &finding.what)?;
        object.serialize_field("seen", &finding.seen)?;
        object.serialize_field("verdict", word)?;
        object.serialize_field("why", &finding.why)?;
        object.serialize_field("remedy", &remedy.map(Remedy::line))?;
        object.serialize_field("blocks", &remedy.is_some_and(Remedy::blocks))?;
        object.end()
    }
}
