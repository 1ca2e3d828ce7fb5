//! The binary format of COPY (PostgreSQL's manual, COPY, "Binary Format"): rows out of the bytes that a
//! server sends, and bytes for rows that go back.

/// What every such stream begins with: signature, flags, length of the extension.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const HEADER: usize = SIGNATURE.len() + 4 + 4;
/// Bit 16 of the flags: rows have object ids, which no server from 12 on writes. Bits from 16 on are
/// critical: a reader that does not know one must not go on.
const CRITICAL: u32 = 0xffff_0000;
/// PostgreSQL has no value of 1 GiB.
const LARGEST: usize = 1 << 30;

/// A field; `None` is NULL.
pub(crate) type Field = Option<Vec<u8>>;

/// A stream that is not in this format, or not with these columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's COPY data is malformed: {0}")]
pub(crate) struct Malformed(&'static str);

/// Rows out of bytes that come in pieces of any size.
#[derive(Debug)]
pub(crate) struct Decoder {
    columns: usize,
    bytes: Vec<u8>,
    /// What of `bytes` was read.
    at: usize,
    begun: bool,
    ended: bool,
}

impl Decoder {
    /// For rows of so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            columns,
            bytes: Vec::new(),
            at: 0,
            begun: false,
            ended: false,
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // What was read is let go of, so that no more is held than one row and one piece.
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next row; `None` where more bytes are needed, or none will come.
    pub(crate) fn next_row(&mut self) -> Result<Option<Vec<Field>>, Malformed> {
        if !self.begun && !self.header()? {
            return Ok(None);
        }
        if self.ended {
            return match self.rest().is_empty() {
                true => Ok(None),
                false => Err(Malformed("something follows its end")),
            };
        }
        let mut rest = self.rest();
        let Some(columns) = number::<2>(&mut rest).map(i16::from_be_bytes) else {
            return Ok(None);
        };
        if columns == -1 {
            self.ended = true;
            self.at += 2;
            return self.next_row();
        }
        if usize::try_from(columns) != Ok(self.columns) {
            return Err(Malformed("a row has another number of columns"));
        }
        let mut fields = Vec::with_capacity(self.columns);
        for _ in 0..self.columns {
            match field(&mut rest)? {
                Some(field) => fields.push(field),
                None => return Ok(None),
            }
        }
        let left = rest.len();
        self.at = self.bytes.len() - left;
        Ok(Some(fields))
    }

    /// To be called when no more bytes come.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        match self.ended && self.rest().is_empty() {
            true => Ok(()),
            false => Err(Malformed("it ends before its end")),
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Whether the header was read.
    fn header(&mut self) -> Result<bool, Malformed> {
        let bytes = self.rest();
        let known = bytes.len().min(SIGNATURE.len());
        if bytes[..known] != SIGNATURE[..known] {
            return Err(Malformed("it has another signature"));
        }
        if bytes.len() < HEADER {
            return Ok(false);
        }
        let mut rest = &bytes[SIGNATURE.len()..];
        let flags = number::<4>(&mut rest).map_or(0, u32::from_be_bytes);
        let extension = number::<4>(&mut rest).map_or(0, u32::from_be_bytes);
        if flags & CRITICAL != 0 {
            return Err(Malformed("it has flags that are not known"));
        }
        let extension = extension as usize;
        if extension > LARGEST {
            return Err(Malformed("its header is too long"));
        }
        if rest.len() < extension {
            return Ok(false);
        }
        self.at += HEADER + extension;
        self.begun = true;
        Ok(true)
    }
}

/// The outer `None` where more bytes are needed.
fn field(rest: &mut &[u8]) -> Result<Option<Field>, Malformed> {
    let Some(length) = number::<4>(rest).map(i32::from_be_bytes) else {
        return Ok(None);
    };
    if length == -1 {
        return Ok(Some(None));
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length < LARGEST)
        .ok_or(Malformed("a field has an impossible length"))?;
    Ok(rest.split_at_checked(length).map(|(value, after)| {
        *rest = after;
        Some(value.to_vec())
    }))
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

/// What a stream begins with.
pub(crate) fn begin() -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0; 8]);
    bytes
}

/// Adds a row.
pub(crate) fn row<'a>(
    bytes: &mut Vec<u8>,
    fields: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
) -> Result<(), Malformed> {
    let columns = i16::try_from(fields.len()).map_err(|_| Malformed("too many columns"))?;
    bytes.extend(columns.to_be_bytes());
    for field in fields {
        match field {
            None => bytes.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                let length = i32::try_from(value.len()).ok();
                let length = length.ok_or(Malformed("a new value is larger than 1 GiB"))?;
                bytes.extend(length.to_be_bytes());
                bytes.extend_from_slice(value);
            }
        }
    }
    Ok(())
}

/// What a stream ends with.
pub(crate) fn end() -> [u8; 2] {
    (-1_i16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(rows: &[Vec<Field>]) -> Vec<u8> {
        let mut bytes = begin();
        for fields in rows {
            row(&mut bytes, fields.iter().map(Option::as_deref)).expect("a small row");
        }
        bytes.extend(end());
        bytes
    }

    fn read(columns: usize, pieces: &[&[u8]]) -> Result<Vec<Vec<Field>>, Malformed> {
        let mut decoder = Decoder::new(columns);
        let mut rows = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(row) = decoder.next_row()? {
                rows.push(row);
            }
        }
        decoder.finish()?;
        Ok(rows)
    }

    #[test]
    fn what_is_not_the_format_is_refused() {
        let right = stream(&[vec![Some(vec![1]), None]]);
        assert_eq!(read(2, &[&right]).map(|rows| rows.len()), Ok(1));
        assert!(read(1, &[&right]).is_err(), "other columns");
        assert!(read(2, &[&right[..right.len() - 1]]).is_err(), "cut short");
        assert!(read(2, &[&right, b"x"]).is_err(), "longer");
        assert!(read(2, &[b"PGCOPX"]).is_err(), "another signature");
        let mut flags = right.clone();
        flags[12] = 1;
        assert!(read(2, &[&flags]).is_err(), "a critical flag");
        let mut length = right;
        length[21] = 0x80;
        assert!(read(2, &[&length]).is_err(), "a negative length");
    }

    #[test]
    fn a_header_extension_is_passed_over() {
        let mut bytes = begin();
        let place = bytes.len() - 1;
        bytes[place] = 3;
        bytes.extend(b"ext");
        bytes.extend(end());
        assert_eq!(read(1, &[&bytes]), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn rows_come_back_however_they_are_cut(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 3),
                0..8,
            ),
            piece in 1_usize..40,
        ) {
            let bytes = stream(&rows);
            let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
            prop_assert_eq!(read(3, &pieces), Ok(rows));
        }

        #[test]
        fn arbitrary_bytes_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            header in any::<bool>(),
            columns in 0_usize..4,
            piece in 1_usize..50,
        ) {
            let mut all = if header { begin() } else { Vec::new() };
            all.extend(bytes);
            let pieces: Vec<&[u8]> = all.chunks(piece).collect();
            let _ = read(columns, &pieces);
        }

        #[test]
        fn a_damaged_stream_is_survived(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 2),
                0..5,
            ),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = stream(&rows);
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let _ = read(2, &[&bytes]);
        }
    }
}
