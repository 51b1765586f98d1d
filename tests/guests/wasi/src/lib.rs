//! Calls WASI in the way that the event's name says.

use parlance_guest::log::{self, Level};
use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize, ambient};
use serde::Deserialize;

mod bindings {
    wit_bindgen::generate!({
        path: ["../wit/io.wit", "../wit/clocks.wit", "../wit/random.wit", "../wit/cli.wit", "../wit/filesystem.wit",
               "../wit/sockets.wit"],
        inline: "
            package tests:wasi;
            world guest {
                import wasi:clocks/monotonic-clock@0.2.0;
                import wasi:clocks/wall-clock@0.2.0;
                import wasi:random/random@0.2.0;
                import wasi:cli/environment@0.2.0;
                import wasi:cli/exit@0.2.0;
                import wasi:cli/stdout@0.2.0;
                import wasi:cli/stderr@0.2.0;
                import wasi:filesystem/preopens@0.2.0;
                import wasi:sockets/instance-network@0.2.0;
                import wasi:sockets/ip-name-lookup@0.2.0;
                import wasi:sockets/tcp-create-socket@0.2.0;
                import wasi:sockets/udp-create-socket@0.2.0;
            }
        ",
        generate_all,
    });
}

use bindings::wasi::cli::{environment, exit, stderr, stdout};
use bindings::wasi::clocks::{monotonic_clock, wall_clock};
use bindings::wasi::filesystem::preopens;
use bindings::wasi::random::random;
use bindings::wasi::sockets::network::{ErrorCode, IpAddressFamily};
use bindings::wasi::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

struct Wasi;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Action {
    text: String,
    /// A number of times, a time in milliseconds, or a size in bytes.
    count: u64,
}

#[derive(Default, Serialize)]
struct Answer {
    ok: bool,
    values: Vec<u64>,
    texts: Vec<String>,
}

const NANOSECONDS: u64 = 1_000_000;

impl EventHandler for Wasi {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        let (action,): (Action,) = arguments.parse()?;
        let mut answer = Answer {
            ok: true,
            ..Answer::default()
        };
        match name {
            "print" => {
                let (output, errors) = (stdout::get_stdout(), stderr::get_stderr());
                let print = |text: &str| output.blocking_write_and_flush(text.as_bytes()).map_err(|_| closed());
                print("first\nsec")?;
                log::write(Level::Info, "logged");
                print("ond\n")?;
                errors.blocking_write_and_flush(b"odd\n").map_err(|_| closed())?;
                print("the end")?;
            }
            "flood" => {
                let output = stdout::get_stdout();
                for _ in 0..action.count {
                    output.blocking_write_and_flush(&[b'x'; 4000]).map_err(|_| closed())?;
                }
            }
            "sleep" => {
                let before = monotonic_clock::now();
                monotonic_clock::subscribe_duration(action.count.saturating_mul(NANOSECONDS)).block();
                answer.values = vec![(monotonic_clock::now() - before) / NANOSECONDS];
            }
            "clocks" => {
                let now = wall_clock::now();
                answer.values = vec![
                    now.seconds * 1000 + u64::from(now.nanoseconds) / NANOSECONDS,
                    u64::from(now.nanoseconds) % NANOSECONDS,
                    monotonic_clock::now() % NANOSECONDS,
                    ambient::now_ms(),
                ];
            }
            // How often the clock can be read before it goes on: never twice the same.
            "race" => {
                answer.values = (0..action.count).map(|_| reads_in_a_tick()).collect();
            }
            "random" => answer.values = vec![random::get_random_bytes(action.count).len() as u64],
            "hold" => {
                let held: Vec<_> = (0..action.count)
                    .map(|_| monotonic_clock::subscribe_duration(u64::MAX))
                    .collect();
                answer.values = vec![held.len() as u64];
            }
            "count" => {
                for _ in 0..action.count {
                    monotonic_clock::now();
                }
            }
            "exit" => exit::exit(Ok(())),
            "look" => {
                answer.texts = environment::get_arguments();
                answer
                    .texts
                    .extend(environment::get_environment().into_iter().map(|(name, _)| name));
                answer
                    .texts
                    .extend(preopens::get_directories().into_iter().map(|(_, name)| name));
            }
            "sockets" => {
                answer.texts = vec![
                    told(tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)),
                    told(udp_create_socket::create_udp_socket(IpAddressFamily::Ipv6)),
                    told(ip_name_lookup::resolve_addresses(
                        &instance_network::instance_network(),
                        &action.text,
                    )),
                ];
            }
            _ => return Err(Rejection::Invalid(format!("no such action: {name}"))),
        }
        Ok(answer)
    }
}

fn reads_in_a_tick() -> u64 {
    let before = monotonic_clock::now();
    (0..).find(|_| monotonic_clock::now() != before).unwrap_or(0)
}

fn told<T>(result: Result<T, ErrorCode>) -> String {
    match result {
        Ok(_) => "allowed".to_owned(),
        Err(code) => code.name().to_owned(),
    }
}

fn closed() -> Rejection {
    Rejection::Unavailable("the stream is closed".into())
}

parlance_guest::export!(Wasi: event);
