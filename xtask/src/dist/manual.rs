//! The man page: clap's part from the arguments themselves, and what they don't say.

use anyhow::Result;
use clap::CommandFactory;
use clap_mangen::Man;
use fsmasq::cli::Arguments;

/// What follows the options.
const REST: &str = r#".SH EXAMPLES
A Kubernetes node in a sandbox whose files are on 9p:
.PP
.nf
    fsmasq k3s server
.fi
.PP
What is rewritten, call by call:
.PP
.nf
    fsmasq \-v df \-T
.fi
.PP
Another type instead of 9p:
.PP
.nf
    fsmasq \-\-map fuse=ext4 \-\- COMMAND
.fi
.PP
A profile to edit, and its use:
.PP
.nf
    fsmasq \-\-print\-profile > my.toml
    fsmasq \-\-profile my.toml COMMAND
.fi
.SH EXIT STATUS
That of the command; 125 where fsmasq itself fails, 126 where the program can't be executed, 127 where it is not found.
.SH ENVIRONMENT
.TP
\fBFSMASQ_LOG\fR
What is logged: \fBdebug\fR, \fBoff\fR and others; it decides over \fB\-v\fR.
.TP
\fBNO_COLOR\fR
Where it is set and not empty, help and errors have no colours. They have none either where they don't go to a terminal.
.SH FILES
.TP
\fI/usr/share/doc/fsmasq/examples\fR
A profile with a rule of each kind; the configuration of a k3s node.
.SH SEE ALSO
\fBstatfs\fR(2), \fBptrace\fR(2), \fBseccomp\fR(2), \fBproc\fR(5)
"#;

/// The page, of this day.
pub fn page(date: &str) -> Result<Vec<u8>> {
    let man = Man::new(Arguments::command().after_help("").after_long_help("")).section("1").date(date);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    // clap ends lines before and after a blank one, which mandoc finds pointless.
    let text = String::from_utf8_lossy(&page).replace(".br\n\n.br\n", ".sp\n");
    let mut page = text.into_bytes();
    page.extend_from_slice(REST.as_bytes());
    Ok(page)
}
