fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let r = match args[0].to_str().unwrap() {
        "demo" => agent::app::demo::demo(Default::default()),
        "demo-client" => agent::app::demo::client::run().map(|()| std::process::ExitCode::SUCCESS),
        "enter-cgroup" => agent::app::exec::enter(args[1].as_ref(), &args[3..]),
        _ => panic!(),
    };
    eprintln!("{r:?}");
}
