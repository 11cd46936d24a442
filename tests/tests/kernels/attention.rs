use strix_engine::{Gpu, Graph, Program, Resident, Tensor};
use strix_shaders::attention::{self, HeadShape, Heads, Mask, Params};
use strix_tests::{assert_close, on_both, plain_gpu, gpu, run_on, uniform};

#[test]
#[ignore]
fn time_attention() {
    let (rows, start) = (std::env::var("ROWS").map_or(640, |v| v.parse().unwrap()), 0);
    let n = 32 * 128;
    let mut g = Graph::new(gpu().target());
    let ctx = 1024;
    let x = |label: &str, seed, rows: u32| Resident::from_slice(label, [rows, n], &uniform(seed, (rows * n) as usize));
    let q = g.bind(&x("q", 1, rows));
    let k = g.bind(&x("k", 2, ctx));
    let v = g.bind(&x("v", 3, ctx));
    let span = g.bind(&Resident::from_slice("span", [2], &[start, rows]));
    let h = |tensor| Heads { tensor, offset: 0, stride: 128 };
    let shape = HeadShape { num_heads: 32, num_kv_heads: 32, head_dim: 128 };
    let y = strix_shaders::attention(&mut g, "y", h(q), h(k), h(v), shape, rows, Mask::Causal { span });
    let y = g.output(y);
    let t = std::time::Instant::now();
    let mut p = Program::compile(gpu(), g).unwrap();
    println!("pipeline {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let c0 = cpu();
    p.run(&[y.id()]).unwrap();
    println!("first run {:?} cpu {} s", t.elapsed(), cpu() - c0);
    for _ in 0..5 {
        let t = std::time::Instant::now();
        let c = cpu();
        p.run(&[]).unwrap();
        println!("run {:?} cpu/2 {} ms", t.elapsed(), (cpu() - c) * 500.0);
    }
    let p = p.profile().unwrap();
    println!("{p:?}");
}
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
