//! The causes for which the system refuses to read or write a file: a closed list, from the error number, with
//! remedies.

use std::io;

/// The cause of a failure to read or write a file. Causes with the same remedy are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCause {
    /// The device or the user's quota is full.
    Full,
    /// The file is larger than a limit or than the file system allows.
    TooLarge,
    /// The process has reached its limit of descriptors.
    DescriptorLimit,
    /// The machine has reached its limit of open files.
    OpenFileLimit,
    /// The memory is full.
    Memory,
    /// The path is missing, exists already, has another type, or is not permitted.
    Path,
    /// The device fails.
    Device,
    /// Another cause, without a known remedy.
    Other,
}

impl FileCause {
    /// Returns the cause of an error.
    pub fn of(error: &io::Error) -> Self {
        match number_of(error) {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full,
            Some(libc::EFBIG) => Self::TooLarge,
            Some(libc::EMFILE) => Self::DescriptorLimit,
            Some(libc::ENFILE) => Self::OpenFileLimit,
            Some(libc::ENOMEM) => Self::Memory,
            Some(
                libc::EACCES
                | libc::EPERM
                | libc::EROFS
                | libc::ENOENT
                | libc::ENOTDIR
                | libc::EISDIR
                | libc::EEXIST
                | libc::ENOTEMPTY
                | libc::EADDRINUSE
                | libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::EBUSY
                | libc::ETXTBSY
                | libc::EXDEV
                | libc::ENODEV
                | libc::ENXIO
                | libc::EOPNOTSUPP,
            ) => Self::Path,
            Some(libc::EIO | libc::ESTALE) => Self::Device,
            _ => Self::Other,
        }
    }

    /// Returns the remedy that does not depend on the path; empty for [`FileCause::Path`] and [`FileCause::Other`].
    pub fn help(self) -> &'static str {
        match self {
            Self::Full => "free some space",
            Self::TooLarge => "raise `ulimit -f`",
            Self::DescriptorLimit => "raise `ulimit -n`",
            Self::OpenFileLimit => "raise the machine's limit (sysctl fs.file-max)",
            Self::Memory => "end other programs",
            Self::Device => "look for the device's fault in the system's log",
            Self::Path | Self::Other => "",
        }
    }

    /// Returns `true` if another path may help.
    pub fn is_of_place(self) -> bool {
        matches!(self, Self::Full | Self::TooLarge | Self::Path | Self::Device)
    }

    /// Returns the end of a sentence about an error: the remedy, and `elsewhere`, which names another path, if that may
    /// help.
    pub fn remedy(self, elsewhere: &str) -> String {
        match (self.help(), self.is_of_place()) {
            ("", false) => String::new(),
            ("", true) => format!("; {elsewhere}"),
            (help, false) => format!("; {help}"),
            (help, true) => format!("; {help}, or {elsewhere}"),
        }
    }
}

/// Returns the error number. Some errors, such as those of `tempfile`, have it only in their text.
fn number_of(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let text = error.to_string();
        let (_, rest) = text.split_once("(os error ")?;
        rest.split_once(')')?.0.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(number: i32) -> String {
        FileCause::of(&io::Error::from_raw_os_error(number)).remedy("go elsewhere")
    }

    #[test]
    fn each_error_number_has_the_remedy_of_its_cause() {
        let cases = [
            (libc::ENOSPC, "; free some space, or go elsewhere"),
            (libc::EDQUOT, "; free some space, or go elsewhere"),
            (libc::EFBIG, "; raise `ulimit -f`, or go elsewhere"),
            (libc::EMFILE, "; raise `ulimit -n`"),
            (libc::ENFILE, "; raise the machine's limit (sysctl fs.file-max)"),
            (libc::ENOMEM, "; end other programs"),
            (libc::EACCES, "; go elsewhere"),
            (libc::EROFS, "; go elsewhere"),
            (libc::ENOENT, "; go elsewhere"),
            (libc::EEXIST, "; go elsewhere"),
            (libc::EIO, "; look for the device's fault in the system's log, or go elsewhere"),
            (libc::ENOLCK, ""),
            (libc::EAGAIN, ""),
            (libc::EINVAL, ""),
        ];
        for (number, expected) in cases {
            assert_eq!(remedy(number), expected, "{}", io::Error::from_raw_os_error(number));
        }
    }

    #[test]
    fn an_error_number_is_found_in_a_text() {
        let missing = tempfile::tempdir_in("/nonexistent").unwrap_err();
        assert_eq!(missing.raw_os_error(), None);
        assert_eq!(FileCause::of(&missing), FileCause::Path);
        assert_eq!(FileCause::of(&io::Error::other("no number")), FileCause::Other);
        let wrapped = io::Error::other(format!("{} at path \"x\"", io::Error::from_raw_os_error(libc::EMFILE)));
        assert_eq!(FileCause::of(&wrapped), FileCause::DescriptorLimit);
    }
}
