//! What ClientHello and ServerHello say in the clear (RFC 8446 §4.1). Cut messages give what is there.

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const NAME_MAX: usize = 255;

/// Length of the handshake message that begins `bytes`, its own header included.
pub(super) fn message_len(bytes: &[u8]) -> Option<usize> {
    let &[_, high, middle, low, ..] = bytes else {
        return None;
    };
    Some(4 + u32::from_be_bytes([0, high, middle, low]) as usize)
}

/// The host name a ClientHello asks for (RFC 6066 §3).
pub(super) fn server_name(hello: &[u8]) -> Option<Box<str>> {
    let mut list = Reader(extension(client_extensions(hello)?, SERVER_NAME)?);
    let mut names = Reader(list.vector16()?);
    // The only name type there is: host_name.
    (names.u8()? == 0).then_some(())?;
    printable(names.vector16()?)
}

/// Whether a ClientHello offers HTTP/2 (RFC 9113 §3.2).
pub(super) fn offers_http2(hello: &[u8]) -> bool {
    let list = client_extensions(hello).and_then(|extensions| extension(extensions, ALPN));
    let Some(mut names) = list.and_then(|list| Reader(list).vector16()).map(Reader) else {
        return false;
    };
    std::iter::from_fn(|| names.vector8()).any(|name| name == b"h2")
}

/// The version a ServerHello chose: supported_versions where present; `None` when it may be in a part that is missing.
pub(super) fn version(hello: &[u8]) -> Option<u16> {
    let mut reader = Reader(hello);
    reader.take(4)?;
    let legacy = reader.u16()?;
    let chosen = server_extensions(hello).and_then(|extensions| extension(extensions, SUPPORTED_VERSIONS));
    let whole = message_len(hello).is_some_and(|len| hello.len() >= len);
    chosen.and_then(|value| Reader(value).u16()).or(whole.then_some(legacy))
}

/// The protocol a ServerHello chose (RFC 7301), in the clear up to TLS 1.2.
pub(super) fn chosen_protocol(hello: &[u8]) -> Option<Box<str>> {
    let mut list = Reader(extension(server_extensions(hello)?, ALPN)?);
    let mut names = Reader(list.vector16()?);
    printable(names.vector8()?)
}

fn client_extensions(hello: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader(hello);
    reader.take(4 + 2 + 32)?;
    reader.vector8()?;
    reader.vector16()?;
    reader.vector8()?;
    Some(reader)
}

fn server_extensions(hello: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader(hello);
    reader.take(4 + 2 + 32)?;
    reader.vector8()?;
    // Cipher suite and compression method.
    reader.take(3)?;
    Some(reader)
}

/// The value of an extension in the list that `reader` stands before.
fn extension(mut reader: Reader<'_>, wanted: u16) -> Option<&[u8]> {
    let len = usize::from(reader.u16()?);
    let mut list = Reader(reader.0.get(..len).unwrap_or(reader.0));
    loop {
        let kind = list.u16()?;
        let value = list.vector16()?;
        if kind == wanted {
            return Some(value);
        }
    }
}

fn printable(bytes: &[u8]) -> Option<Box<str>> {
    let bytes = bytes.get(..NAME_MAX).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.into())
}

/// Takes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let &[high, low] = self.take(2)? else { return None };
        Some(u16::from_be_bytes([high, low]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.u8()?);
        self.take(len)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }
}
