//! `fsmasq --doctor`: looks at a machine or sandbox, and says whether a Kubernetes node can run there, below fsmasq, and
//! what has to be done first. It changes nothing: whatever has to be tried is tried by a child, in namespaces of its own.

mod cgroups;
mod child;
mod command;
mod containers;
mod files;
mod finding;
mod kernel;
mod machine;
mod mounts;
mod netlink;
mod network;
mod partitions;
mod report;
mod trial;

pub use finding::{Area, Finding, Remedy, Verdict};
pub use report::Format;

use crate::rules::Rules;
use child::NoAnswer;
use command::given_options;
use machine::Machine;
use report::Report;
use std::io::IsTerminal;
use std::time::Duration;

/// For one group of questions; each is answered in milliseconds where nothing hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// One group of questions, asked in a process of its own.
struct Questions {
    area: Area,
    /// What is said where no answer comes.
    about: &'static str,
    ask: fn(&Machine) -> Vec<Finding>,
}

const ALL: &[Questions] = &[
    Questions { area: Area::Sandbox, about: "which sandbox", ask: kernel::sandbox },
    Questions { area: Area::Sandbox, about: "privileges", ask: kernel::privileges },
    Questions { area: Area::Prefix, about: "ptrace", ask: kernel::tracing },
    Questions { area: Area::Prefix, about: "seccomp filters", ask: kernel::filters },
    Questions { area: Area::Mounts, about: "mounts", ask: mounts::findings },
    Questions { area: Area::Files, about: "files of the kernel", ask: files::parameters },
    Questions { area: Area::Cgroups, about: "control groups", ask: cgroups::findings },
    Questions { area: Area::Containers, about: "what runc needs", ask: containers::findings },
    Questions { area: Area::Containers, about: "overlay", ask: containers::overlay },
    Questions { area: Area::Network, about: "interfaces", ask: network::interfaces },
    Questions { area: Area::Network, about: "iptables", ask: network::iptables },
    Questions { area: Area::Network, about: "raw sockets", ask: network::raw_sockets },
];

/// What is to be examined.
#[derive(Debug)]
pub struct Doctor {
    /// What fsmasq would show as what, with the options that were given along.
    pub rules: Rules,
    /// The value of `--profile`, where it was given.
    pub profile: Option<String>,
    pub format: Format,
}

/// What was found.
#[derive(Debug)]
pub struct Examined {
    pub text: String,
    /// 0 where a node can run (below fsmasq), 1 where something must be done first.
    pub exit_code: u8,
}

impl Doctor {
    /// Asks everything. Call it from a process with one thread.
    pub fn examine(self) -> Examined {
        let machine = Machine::look(&self.rules);
        let findings = ALL.iter().flat_map(|questions| {
            child::ask(PATIENCE, || (questions.ask)(&machine))
                .unwrap_or_else(|why| vec![unanswered(questions, &why)])
        });
        let report = Report::new(given_options(&self.rules, self.profile), findings.collect());
        let colours = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Examined { text: report.render(self.format, colours), exit_code: report.exit_code() }
    }
}

fn unanswered(questions: &Questions, why: &NoAnswer) -> Finding {
    Finding {
        area: questions.area,
        what: questions.about.into(),
        seen: why.to_string(),
        verdict: Verdict::Unknown,
        why: "fsmasq looks at it in a child with a deadline".into(),
    }
}
