//! A proxy before an S3 server that answers some requests itself: denied, in another region, not there. The others reach
//! the server as they are, signature and all.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// What the proxy answers in place of the server.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `403 Forbidden`.
    pub status: &'static str,
    /// The XML document.
    pub body: String,
}

impl Answer {
    /// An S3 error with this code; `more` are further elements.
    pub fn error(status: &'static str, code: &str, more: &str) -> Self {
        let body = format!("<Error><Code>{code}</Code><Message>told so by the test</Message>{more}</Error>");
        Self { status, body }
    }

    /// This identity may not do that.
    pub fn denied() -> Self {
        Self::error("403 Forbidden", "AccessDenied", "<AWSAccessKeyId>AKIASECRETOFTHETEST</AWSAccessKeyId>")
    }
}

/// Starts a proxy and returns its URL. `answers` is asked with method and target (path and query) of each request. It runs
/// until the process ends.
pub fn start(server: &str, answers: impl Fn(&str, &str) -> Option<Answer> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let answers = Arc::new(answers);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (server, answers) = (server.clone(), Arc::clone(&answers));
            // A client that goes away in the middle is its own business.
            thread::spawn(move || _ = serve(&client, &server, &*answers));
        }
    });
    url
}

/// One request, after which the connection is closed.
fn serve(mut client: &TcpStream, server: &str, answers: &dyn Fn(&str, &str) -> Option<Answer>) -> io::Result<()> {
    let mut request = BufReader::new(client);
    let mut lines: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        if request.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |line: &str, name: &str| line.to_ascii_lowercase().starts_with(name);
    let length = lines.iter().find(|line| header(line, "content-length:"));
    let length: u64 = length.and_then(|line| line[15..].trim().parse().ok()).unwrap_or(0);
    let mut words = lines[0].split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if let Some(Answer { status, body }) = answers(method, target) {
        io::copy(&mut request.take(length), &mut io::sink())?;
        let body = if method == "HEAD" { "" } else { &body };
        let length = body.len();
        return write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    }
    let mut upstream = TcpStream::connect(server)?;
    lines.retain(|line| !header(line, "connection:"));
    lines.push("Connection: close\r\n\r\n".to_owned());
    upstream.write_all(lines.join("\r\n").as_bytes())?;
    io::copy(&mut request.take(length), &mut upstream)?;
    io::copy(&mut upstream, &mut client)?;
    Ok(())
}
