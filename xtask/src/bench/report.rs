//! The generated parts of docs/performance.md: each stands between two markers, and the rest of the
//! page is written by hand.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Puts `text` between the markers of part `name`.
pub fn write(page: &Path, name: &str, text: &str) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let new = replace(&old, name, text).with_context(|| page.display().to_string())?;
    fs::write(page, new).with_context(|| page.display().to_string())
}

fn replace(page: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (Some(begin_at), Some(end_at)) = (page.find(&begin), page.find(&end)) else {
        bail!("no place for the results of `{name}`: put back the lines {} and {end}", begin.trim_end());
    };
    let start = begin_at + begin.len();
    if end_at < start {
        bail!("the markers of `{name}` are in the wrong order");
    }
    Ok(format!("{}\n{}\n\n{}", &page[..start], text.trim(), &page[end_at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() -> Result<()> {
        let page =
            "a\n<!-- begin calls -->\nold\n<!-- end calls -->\nb\n<!-- begin other -->\n<!-- end other -->\n";
        let new = replace(page, "calls", "new\n")?;
        assert_eq!(new, page.replace("\nold\n", "\n\nnew\n\n"));
        assert_eq!(replace(&new, "calls", "new")?, new);
        assert!(replace(page, "missing", "").is_err());
        Ok(())
    }
}
