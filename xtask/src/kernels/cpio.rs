//! The archive format of an initramfs: cpio, "newc".

use std::io::{self, Write};

pub(crate) const DIRECTORY: u32 = 0o040_000;
pub(crate) const REGULAR: u32 = 0o100_000;
pub(crate) const SYMLINK: u32 = 0o120_000;

/// Writes an archive's entries, each after the directory that it is in.
pub(crate) struct Writer<W: Write> {
    to: W,
    inode: u32,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    /// `mode` has the file's type and permissions; `path` is bytes without a leading slash.
    pub(crate) fn entry(&mut self, path: &[u8], mode: u32, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        let name_length = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        self.inode += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let (uid, gid, mtime, device) = (0, 0, 0, 0);
        let fields = [
            self.inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            length,
            device,
            device,
            device,
            device,
            name_length,
            0,
        ];
        let mut header = b"070701".to_vec();
        for field in fields {
            write!(header, "{field:08x}")?;
        }
        header.extend_from_slice(path);
        header.push(0);
        self.padded(&header)?;
        self.padded(data)
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry(b"TRAILER!!!", 0, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    /// Header with name, and data, each start at a multiple of four.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_a_padded_name_and_padded_data() {
        let mut writer = Writer::new(Vec::new());
        writer.entry(b"a", REGULAR | 0o644, b"hello").unwrap();
        let bytes = writer.finish().unwrap();
        let header = "070701000000010000 81a4".replace(' ', "");
        assert!(bytes.starts_with(header.as_bytes()));
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..120], b"hello\0\0\0");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
