use crate::BufferFull;

/// A cursor that fills a caller's buffer. A failed write leaves it where it was.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// A cursor at the start of `buf`.
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// How many octets were written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.buf[..self.len]
    }

    /// Writes `octets`.
    pub fn bytes(&mut self, octets: &[u8]) -> Result<(), BufferFull> {
        let end = self.len.checked_add(octets.len()).ok_or(BufferFull)?;
        self.buf
            .get_mut(self.len..end)
            .ok_or(BufferFull)?
            .copy_from_slice(octets);
        self.len = end;
        Ok(())
    }

    /// Writes one octet.
    pub fn u8(&mut self, v: u8) -> Result<(), BufferFull> {
        self.bytes(&[v])
    }

    /// Writes 16 bits, network order.
    pub fn u16(&mut self, v: u16) -> Result<(), BufferFull> {
        self.bytes(&v.to_be_bytes())
    }

    /// Writes 32 bits, network order.
    pub fn u32(&mut self, v: u32) -> Result<(), BufferFull> {
        self.bytes(&v.to_be_bytes())
    }

    /// Writes 64 bits, network order.
    pub fn u64(&mut self, v: u64) -> Result<(), BufferFull> {
        self.bytes(&v.to_be_bytes())
    }

    /// Overwrites 16 bits that were written before, at `at`: a length known only afterwards.
    pub fn patch_u16(&mut self, at: usize, v: u16) -> Result<(), BufferFull> {
        let end = at
            .checked_add(2)
            .filter(|&end| end <= self.len)
            .ok_or(BufferFull)?;
        self.buf[at..end].copy_from_slice(&v.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_refuses_and_keeps_what_it_has() {
        let mut buf = [0; 3];
        let mut w = Writer::new(&mut buf);
        w.u16(0x0102).unwrap();
        assert_eq!(w.u16(0xffff), Err(BufferFull));
        w.patch_u16(0, 0x0a0b).unwrap();
        assert_eq!(w.patch_u16(1, 0), Err(BufferFull));
        w.u8(9).unwrap();
        assert_eq!(w.written(), [0x0a, 0x0b, 9]);
    }
}
