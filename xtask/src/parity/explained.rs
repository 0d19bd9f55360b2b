//! Differences with a reason. Everything that differs and is not here is a bug of the launcher.

use super::suite::Place;

/// One kind of difference, or several with one reason.
pub struct Explained {
    pub suite: &'static str,
    /// The test's full name, `JOB: TEST`; a `*` at the end stands for any rest.
    pub test: &'static str,
    /// Nothing: wherever the suite runs.
    pub place: Option<Place>,
    /// Why the test can't be the same below the prefix.
    pub why: &'static str,
}

const EXPLAINED: &[Explained] = &[];

pub fn all() -> impl Iterator<Item = &'static Explained> {
    EXPLAINED.iter().chain(super::real::EXPLAINED)
}

impl Explained {
    pub fn is_of(&self, suite: &str, place: Place) -> bool {
        self.suite == suite && self.place.is_none_or(|own| own == place)
    }

    pub fn is_about(&self, test: &str) -> bool {
        match self.test.strip_suffix('*') {
            Some(start) => test.starts_with(start),
            None => self.test == test,
        }
    }
}
