//! Build tools: many short processes at once, and what they make has to run.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::script;
use crate::parity::readers;
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::run;

const LIMIT: Duration = Duration::from_secs(300);

pub const SUITES: [Suite; 1] = [Suite {
    name: "builds",
    about: "make -j of a C program, cargo build, test and run of a crate",
    long: false,
    places: &[Place::Linux, Place::Gvisor],
    make: plan,
}];

fn plan(context: &Context) -> Result<Plan, Missing> {
    let count = if context.short { "30" } else { "200" };
    let make = "\"$1\" \"$2\" && make -j 4 2>&1 | tail -n 1 && touch -d '1 hour' f1.c && make -j 2 -n | grep -c -- -c";
    let generate = script("builds/generate.sh").into_os_string();
    let words = ["sh".into(), "-c".into(), make.into(), "sh".into(), generate, count.into()];
    let mut plan =
        Plan::new(vec![Job::new("make", words, LIMIT, readers::one_command("make", readers::unchanged))]);
    // Rustup finds its toolchains from the home folder, which is another one in a run.
    let toolchain = run(Command::new("rustc").args(["--print", "sysroot"])).context("rustc")?;
    let toolchain = format!("{}/bin", String::from_utf8_lossy(&toolchain).trim());
    let script = "\"$0\" test --offline 2>&1 | grep -E '^test |result' | sed 's/; finished.*//' | sort; \"$0\" run --offline --quiet";
    let words = ["sh", "-c", script, &format!("{toolchain}/cargo")];
    let job = Job::new("cargo", words, LIMIT, readers::one_command("cargo", readers::unchanged))
        .env("RUSTC", format!("{toolchain}/rustc"));
    plan.jobs.push(job.fill(|folder| {
        fs::create_dir(folder.join("src"))?;
        fs::write(
            folder.join("Cargo.toml"),
            "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
        )?;
        let tests: String = (0..20)
            .map(|i| {
                format!(
                    "#[test] fn t{i}() {{ let s = std::process::Command::new(\"sh\").args([\"-c\", \"exit {i}\"]).status(); assert_eq!(s.unwrap().code(), Some({i})); }}\n"
                )
            })
            .collect();
        fs::write(folder.join("src/main.rs"), format!("fn main() {{ println!(\"ran\"); }}\n{tests}"))?;
        Ok(())
    }));
    Ok(plan)
}
