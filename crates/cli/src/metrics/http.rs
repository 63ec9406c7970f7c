//! The little of HTTP/1.1 that a scrape needs: one GET request, one answer, then the end of the connection.

use std::io::{self, Read, Write};

use super::format::Format;

/// The longest request that is read. Prometheus' has some 300 bytes.
const ROOM: usize = 8 << 10;

/// The page.
const PATH: &str = "/metrics";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Page { format: Format, has_body: bool },
    Refused(Refusal),
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed,
    NoPage,
    OtherMethod,
    TooLong,
}

/// Reads a request from a client and answers it. A client that sends none gets no answer.
///
/// # Errors
/// The connection's.
pub(super) fn serve(
    client: &mut (impl Read + Write),
    page: impl FnOnce(Format) -> String,
) -> io::Result<()> {
    let asked = match read_head(client)? {
        Head::Whole(head) => parse(&head),
        Head::TooLong => Asked::Refused(Refusal::TooLong),
        Head::Ended => return Ok(()),
    };
    match asked {
        Asked::Page { format, has_body } => {
            let body = page(format);
            let head = head("200 OK", format.content_type(), body.len());
            client.write_all(head.as_bytes())?;
            if has_body {
                client.write_all(body.as_bytes())?;
            }
        }
        Asked::Refused(why) => {
            let (status, body) = why.words();
            let head = head(status, "text/plain; charset=utf-8", body.len());
            client.write_all(head.as_bytes())?;
            client.write_all(body.as_bytes())?;
        }
    }
    client.flush()
}

fn head(status: &str, content_type: &str, len: usize) -> String {
    let allow = match status.starts_with("405") {
        true => "Allow: GET, HEAD\r\n",
        false => "",
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\n{allow}Connection: close\r\n\r\n"
    )
}

/// What has been read of a request.
enum Head {
    Whole(Vec<u8>),
    TooLong,
    Ended,
}

/// Reads up to the empty line that ends the header.
fn read_head(client: &mut impl Read) -> io::Result<Head> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let len = match client.read(&mut buffer) {
            Ok(0) => return Ok(Head::Ended),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        // The empty line may have begun in what was read before.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(buffer.get(..len).unwrap_or_default());
        let fresh = head.get(from..).unwrap_or_default();
        let is_end = fresh.windows(4).any(|it| it == b"\r\n\r\n");
        if head.len() > ROOM {
            return Ok(Head::TooLong);
        }
        if is_end {
            return Ok(Head::Whole(head));
        }
    }
}

fn parse(head: &[u8]) -> Asked {
    let malformed = Asked::Refused(Refusal::Malformed);
    let Ok(head) = str::from_utf8(head) else {
        return malformed;
    };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return malformed;
    };
    if !version.starts_with("HTTP/1.") {
        return malformed;
    }
    let has_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Asked::Refused(Refusal::OtherMethod),
    };
    if target.split('?').next() != Some(PATH) {
        return Asked::Refused(Refusal::NoPage);
    }
    let fields = lines.filter_map(|line| line.split_once(':'));
    let accepted: Vec<&str> = fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
        .map(|(_, value)| value)
        .collect();
    Asked::Page {
        format: Format::accepted(&accepted.join(",")),
        has_body,
    }
}

impl Refusal {
    /// The status, and a line for people.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("400 Bad Request", "not an HTTP/1.1 request\n"),
            Self::NoPage => ("404 Not Found", "the only page is /metrics\n"),
            Self::OtherMethod => ("405 Method Not Allowed", "only GET and HEAD\n"),
            Self::TooLong => (
                "431 Request Header Fields Too Large",
                "the request is longer than 8 KiB\n",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that sends what it has in pieces of this many bytes.
    struct Client {
        sends: Vec<u8>,
        piece: usize,
        received: Vec<u8>,
    }

    impl Read for Client {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let len = self.piece.min(self.sends.len()).min(into.len());
            let sent: Vec<u8> = self.sends.drain(..len).collect();
            into[..len].copy_from_slice(&sent);
            Ok(len)
        }
    }

    impl Write for Client {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.received.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The answer to a request that arrives in pieces of this many bytes.
    fn answer(request: &str, piece: usize) -> String {
        let mut client = Client {
            sends: request.into(),
            piece,
            received: Vec::new(),
        };
        let page = |format| match format {
            Format::Text => "text\n".to_owned(),
            Format::OpenMetrics => "# EOF\n".to_owned(),
        };
        serve(&mut client, page).unwrap();
        String::from_utf8(client.received).unwrap()
    }

    #[test]
    fn a_page_is_for_those_that_ask_for_it() {
        for piece in [1, 3, 4096] {
            let plain = answer("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n", piece);
            assert!(plain.starts_with("HTTP/1.1 200 OK\r\n"), "{plain}");
            assert!(
                plain.contains("\r\nContent-Length: 5\r\n") && plain.ends_with("\r\n\r\ntext\n")
            );
            let open = "GET /metrics?x=1 HTTP/1.1\r\naccept: application/openmetrics-text\r\n\r\n";
            let open = answer(open, piece);
            assert!(open.contains("openmetrics-text; version=1.0.0"), "{open}");
            assert!(open.ends_with("\r\n\r\n# EOF\n"), "{open}");
        }
        let head = answer("HEAD /metrics HTTP/1.0\r\n\r\n", 9);
        assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn other_requests_are_refused() {
        let refused = [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("GET  /metrics HTTP/1.1\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            ("GET /metrics SSH-2.0\r\n\r\n", "400"),
        ];
        for (request, status) in refused {
            let answer = answer(request, 4096);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(ROOM));
        assert!(answer(&long, 4096).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn what_is_no_whole_request_gets_no_answer() {
        for part in ["", "GET /metrics HTTP/1.1\r\n", "\u{16}\u{3}\u{1}"] {
            assert_eq!(answer(part, 4096), "");
        }
    }
}
