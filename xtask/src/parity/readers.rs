//! Verdicts from what test programs write.

use std::collections::BTreeMap;

use super::suite::{Finished, Outcome, Verdict, Verdicts};

/// One command that is one test: it passes with exit status 0, and both runs have to end and to say the same, after
/// `normalise` has taken out what differs from run to run (ids, times, folders).
pub fn one_command(
    name: &str,
    normalise: fn(&str) -> String,
) -> impl Fn(&Finished) -> Verdicts + Send + Sync + 'static {
    let name = name.to_owned();
    move |finished| {
        let mut verdict = Verdict::new(match finished.status {
            Some(status) if status.success() => Outcome::Passed,
            Some(_) => Outcome::Failed,
            None => Outcome::Hung,
        });
        let ended = finished.status.map(|status| status.to_string()).unwrap_or_default();
        let folder = finished.folder.display().to_string();
        let said = finished.stdout.replace(&folder, "FOLDER");
        verdict.said = Some(format!("{ended}\n{}", normalise(&said)));
        verdict.detail = last_lines(&finished.stderr, 12);
        Verdicts::from([(name.clone(), verdict)])
    }
}

/// As it is.
pub fn unchanged(text: &str) -> String {
    text.to_owned()
}

/// A Go test program with `-test.v=test2json`: what the framework says begins with a byte of its own, wherever it stands.
pub fn go_test(finished: &Finished) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    let mut running = String::new();
    for part in finished.stdout.split('\u{16}').skip(1) {
        let (line, rest) = part.split_once('\n').unwrap_or((part, ""));
        let line = line.trim_start();
        let Some((what, name)) = line.split_once(": ").or_else(|| line.rsplit_once(' ')) else { continue };
        let outcome = match what.trim_end() {
            // Until something else is said of it.
            "=== RUN" => Some(Outcome::Hung),
            "--- PASS" => Some(Outcome::Passed),
            "--- FAIL" => Some(Outcome::Failed),
            "--- SKIP" => Some(Outcome::Skipped),
            _ => None,
        };
        let name = name.split(" (").next().unwrap_or(name).trim();
        running = without_numbers(&name.replace(&finished.folder.display().to_string(), "FOLDER"));
        said.entry(running.clone()).or_default().push_str(rest);
        if let Some(outcome) = outcome {
            verdicts.insert(running.clone(), Verdict::new(outcome));
        }
    }
    for (test, verdict) in &mut verdicts {
        if let Outcome::Failed | Outcome::Hung = verdict.outcome {
            verdict.detail = said.get(test).map(|text| last_lines(text, 12)).unwrap_or_default();
            // One that crashed has taken all with it.
            if verdict.outcome == Outcome::Hung && finished.status.is_some() {
                verdict.outcome = Outcome::Failed;
                if *test == running {
                    verdict.detail = first_lines(&finished.stderr, 12);
                }
            }
        }
    }
    verdicts
}

/// Long numbers, as in the names of temporary folders, differ from run to run.
fn without_numbers(name: &str) -> String {
    const LONG: usize = 6;
    let mut stable = String::new();
    let mut number = String::new();
    for letter in name.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        stable.push_str(if number.len() < LONG { &number } else { "N" });
        number.clear();
        stable.push(letter);
    }
    stable.pop();
    stable
}

/// CPython's unittest with `-v`: `test_x (test.test_os.FileTests.test_x) ... ok`, the outcome perhaps lines later.
pub fn unittest(finished: &Finished) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let mut running: Option<String> = None;
    let text = format!("{}\n{}", finished.stderr, finished.stdout);
    for line in text.lines() {
        let line = line.trim_end();
        let mut rest = line;
        if let Some((head, tail)) = line.split_once(" ... ")
            && let Some(name) = test_name(head)
        {
            running = Some(name);
            rest = tail;
        } else if let Some(name) = line.strip_suffix(" ...").and_then(test_name) {
            running = Some(name);
            continue;
        } else if let Some(name) = test_name(line) {
            // With a doc string, the outcome is at the end of the second line.
            running = Some(name);
            continue;
        } else if let Some((_, tail)) = line.rsplit_once(" ... ") {
            rest = tail;
        }
        let Some(name) = &running else { continue };
        let outcome = match rest {
            "ok" | "expected failure" => Outcome::Passed,
            "FAIL" | "ERROR" | "unexpected success" => Outcome::Failed,
            _ if rest.starts_with("skipped ") => Outcome::Skipped,
            _ => continue,
        };
        verdicts.insert(name.clone(), Verdict::new(outcome));
        running = None;
    }
    if let Some(name) = running {
        let outcome = if finished.status.is_some() { Outcome::Failed } else { Outcome::Hung };
        verdicts.insert(name, Verdict::detailed(outcome, "nothing was said after its start"));
    }
    details(&text, &mut verdicts);
    verdicts
}

/// `test_x (test.test_os.FileTests.test_x)`, or with the class only, as before Python 3.11.
fn test_name(head: &str) -> Option<String> {
    let (method, place) = head.split_once(" (")?;
    let place = place.strip_suffix(')')?;
    let is_name =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._<>-".contains(c));
    if !is_name(method) || !is_name(place) || !place.contains('.') {
        return None;
    }
    let with_method = place.rsplit('.').next() == Some(method);
    Some(if with_method || !method.starts_with("test") {
        place.to_owned()
    } else {
        format!("{place}.{method}")
    })
}

/// The tracebacks at the end: `FAIL: test_x (test.test_os.FileTests.test_x)`, a line, and the text.
fn details(text: &str, verdicts: &mut Verdicts) {
    for part in
        text.split("\n======================================================================\n").skip(1)
    {
        let head = part.lines().next().unwrap_or("");
        let Some((_, head)) = head.split_once(": ") else { continue };
        let head = head.split(") [").next().unwrap_or(head);
        let head = if head.ends_with(')') { head.to_owned() } else { format!("{head})") };
        if let Some(name) = test_name(&head) {
            let verdict = verdicts.entry(name).or_insert(Verdict::new(Outcome::Failed));
            let end = part.find("\n\nRan ").or_else(|| part.find("\n\n---")).unwrap_or(part.len());
            verdict.detail = last_lines(&part[..end], 12);
            verdict.outcome = Outcome::Failed; // also where only a subtest failed
        }
    }
}

fn first_lines(text: &str, count: usize) -> String {
    text.lines().take(count).collect::<Vec<_>>().join("\n")
}

pub fn last_lines(text: &str, count: usize) -> String {
    crate::tools::last_lines(text.trim_end(), count)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    use super::*;

    fn finished(stdout: &str, stderr: &str, status: Option<i32>) -> Finished {
        Finished {
            stdout: stdout.into(),
            stderr: stderr.into(),
            status: status.map(ExitStatus::from_raw),
            took: Duration::ZERO,
            folder: "/tmp/x".into(),
        }
    }

    fn outcomes(verdicts: &Verdicts) -> Vec<(&str, Outcome)> {
        verdicts.iter().map(|(name, verdict)| (name.as_str(), verdict.outcome)).collect()
    }

    #[test]
    fn names_are_the_same_in_each_run() {
        assert_eq!(without_numbers("TestA/tmp/x2135259536/001/sub1"), "TestA/tmp/xN/001/sub1");
        assert_eq!(without_numbers("123456"), "N");
    }

    #[test]
    fn unittest_outcomes_are_read_wherever_they_stand() {
        let text = "test_a (test.test_x.C.test_a) ... ok\n\
                    test_b (test.test_x.C.test_b)\nIt does so. ... skipped 'no'\n\
                    test_c (test.test_x.C.test_c) ... noise\nmore\nFAIL\n\
                    test_d (test.test_x.C) ... ok\n\
                    test_e (test.test_x.C.test_e) ... \n";
        let read = unittest(&finished("", text, None));
        assert_eq!(
            outcomes(&read),
            [
                ("test.test_x.C.test_a", Outcome::Passed),
                ("test.test_x.C.test_b", Outcome::Skipped),
                ("test.test_x.C.test_c", Outcome::Failed),
                ("test.test_x.C.test_d", Outcome::Passed),
                ("test.test_x.C.test_e", Outcome::Hung),
            ]
        );
    }

    #[test]
    fn a_go_test_without_an_end_has_hung_or_crashed() {
        let text = "\u{16}=== RUN   TestA\nnoise\u{16}--- PASS: TestA (0.00s)\n\u{16}=== RUN   TestA/b\n\
                    \u{16}=== NAME  TestA\n    \u{16}--- SKIP: TestA/b (0.01s)\n\u{16}=== RUN   TestB\nnoise\n";
        let expected = |last| [("TestA", Outcome::Passed), ("TestA/b", Outcome::Skipped), ("TestB", last)];
        assert_eq!(outcomes(&go_test(&finished(text, "", None))), expected(Outcome::Hung));
        assert_eq!(outcomes(&go_test(&finished(text, "", Some(256)))), expected(Outcome::Failed));
    }

    #[test]
    fn a_command_has_to_say_the_same() {
        let read = one_command("x", unchanged);
        let [a, b, c] = ["/tmp/x/a", "/tmp/x/a", "b"].map(|text| read(&finished(text, "", Some(0))));
        assert!(a["x"].agrees(&b["x"]));
        assert!(!a["x"].agrees(&c["x"]));
        assert!(a["x"].said.as_deref().is_some_and(|said| said.contains("FOLDER/a")));
    }
}
