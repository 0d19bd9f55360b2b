//! What a mount table should look like, written down a second time and simply.

/// The text with the type of each tmpfs line shown as ext4; other lines as they are.
pub fn masked(text: &[u8]) -> Vec<u8> {
    masked_from(b"tmpfs", text)
}

/// The same for another type.
pub fn masked_from(fstype: &[u8], text: &[u8]) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(|line| masked_line(fstype, line)).collect();
    lines.join(&b'\n')
}

fn masked_line(fstype: &[u8], line: &[u8]) -> Vec<u8> {
    let mut words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    if let Some(at) = type_of(&words)
        && words[at] == fstype
    {
        words[at] = b"ext4";
    }
    words.join(&b' ')
}

/// Where a line of mountstats, mountinfo or mounts has its type.
fn type_of(words: &[&[u8]]) -> Option<usize> {
    if words.first() == Some(&&b"device"[..]) {
        return words.iter().position(|word| *word == b"fstype").map(|at| at + 1);
    }
    if words.len() >= 10 && words[2].contains(&b':') {
        let dash = words.iter().skip(6).position(|word| *word == b"-")? + 6;
        return Some(dash + 1);
    }
    (words.len() == 6 && words[4] == b"0" && words[5] == b"0").then_some(2)
}

/// The lines of a table that have this type.
pub fn lines_of_type(text: &[u8], fstype: &str) -> usize {
    text.split(|b| *b == b'\n')
        .filter(|line| {
            let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
            type_of(&words).is_some_and(|at| words.get(at) == Some(&fstype.as_bytes()))
        })
        .count()
}
