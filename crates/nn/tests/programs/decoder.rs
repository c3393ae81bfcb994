//! A Llama-like decoder with a KV cache, masks, padding, and sampling.
use mlx::{Array, Dtype, array, fast, random, s};
use mlx_nn::{self as nn, Embedding, Linear, Module, RMSNorm, RoPE};

struct KvCache {
    keys: Option<Array>,
    values: Option<Array>,
    offset: i32,
}

impl KvCache {
    fn new() -> Self {
        KvCache {
            keys: None,
            values: None,
            offset: 0,
        }
    }

    fn update_and_fetch(&mut self, k: &Array, v: &Array) -> mlx::Result<(Array, Array)> {
        self.keys = Some(match &self.keys {
            Some(old) => mlx::concatenate([old, k], 2),
            None => k.clone(),
        });
        self.values = Some(match self.values.take() {
            Some(old) => mlx::concatenate([&old, v], 2),
            None => v.clone(),
        });
        self.offset += k.dim(2)?;
        Ok((self.keys.clone().unwrap(), self.values.clone().unwrap()))
    }
}

#[derive(Module)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    rope: RoPE,
    n_heads: usize,
    n_kv_heads: usize,
    scale: f32,
}

impl Attention {
    fn new(dim: usize, n_heads: usize, n_kv_heads: usize) -> Self {
        let head = dim / n_heads;
        Attention {
            q_proj: Linear::new(dim, n_heads * head).bias(false),
            k_proj: Linear::new(dim, n_kv_heads * head).bias(false),
            v_proj: Linear::new(dim, n_kv_heads * head).bias(false),
            o_proj: Linear::new(n_heads * head, dim).bias(false),
            rope: RoPE::new(head).traditional(false).base(10000.0),
            n_heads,
            n_kv_heads,
            scale: (head as f32).powf(-0.5),
        }
    }

    fn forward(
        &self,
        x: &Array,
        mask: Option<&Array>,
        cache: Option<&mut KvCache>,
    ) -> mlx::Result<Array> {
        let [b, l, _] = x.dims()?;
        let split = |y: Array, n: usize| y.reshape((b, l, n, -1)).transpose([0, 2, 1, 3]);
        let mut q = split(self.q_proj.forward(x), self.n_heads);
        let mut k = self
            .k_proj
            .forward(x)
            .reshape((b, l, self.n_kv_heads, -1))
            .transpose((0, 2, 1, 3));
        let mut v = split(self.v_proj.forward(x), self.n_kv_heads);
        if let Some(cache) = cache {
            q = self.rope.forward((&q, cache.offset));
            k = self.rope.forward((&k, cache.offset));
            (k, v) = cache.update_and_fetch(&k, &v)?;
        } else {
            q = self.rope.forward(&q);
            k = self.rope.forward(&k);
        }
        let out = fast::scaled_dot_product_attention(&q, &k, &v, self.scale, mask);
        Ok(self
            .o_proj
            .forward(&out.transpose([0, 2, 1, 3]).reshape([b, l, -1])))
    }
}

#[derive(Module)]
struct Block {
    attention: Attention,
    gate: Linear,
    up: Linear,
    down: Linear,
    norm1: RMSNorm,
    norm2: RMSNorm,
}

impl Block {
    fn forward(
        &self,
        x: &Array,
        mask: Option<&Array>,
        cache: Option<&mut KvCache>,
    ) -> mlx::Result<Array> {
        let h = x + self
            .attention
            .forward(&self.norm1.forward(x), mask, cache)?;
        let n = self.norm2.forward(&h);
        Ok(&h
            + self
                .down
                .forward(&(nn::silu(&self.gate.forward(&n)) * self.up.forward(&n))))
    }
}

#[derive(Module)]
struct Decoder {
    embed: Embedding,
    blocks: Vec<Block>,
    norm: RMSNorm,
}

impl Decoder {
    fn new(vocab: usize, dim: usize, heads: usize, depth: usize) -> Self {
        let block = || Block {
            attention: Attention::new(dim, heads, heads / 2),
            gate: Linear::new(dim, 2 * dim).bias(false),
            up: Linear::new(dim, 2 * dim).bias(false),
            down: Linear::new(2 * dim, dim).bias(false),
            norm1: RMSNorm::new(dim).eps(1e-6),
            norm2: RMSNorm::new(dim),
        };
        let blocks = (0..depth).map(|_| block()).collect();
        Decoder {
            embed: Embedding::new(vocab, dim),
            blocks,
            norm: RMSNorm::new(dim),
        }
    }

    fn forward(
        &self,
        tokens: &Array,
        mask: Option<&Array>,
        caches: &mut [KvCache],
    ) -> mlx::Result<Array> {
        let mut h = self.embed.forward(tokens);
        for (block, cache) in self.blocks.iter().zip(caches) {
            h = block.forward(&h, mask, Some(cache))?;
        }
        Ok(self.embed.as_linear(&self.norm.forward(&h)))
    }
}

fn padding_mask(lengths: &Array, longest: usize) -> Array {
    let at = mlx::arange(longest);
    at.index((None, ..)).lt(lengths.index((.., mlx::newaxis)))
}

fn sample(logits: &Array, temperature: f32, top_k: usize, key: &Array) -> Array {
    let kept = mlx::topk(logits, top_k).min(mlx::keepdims(-1));
    let logits = mlx::where_(logits.lt(&kept), f32::NEG_INFINITY, logits);
    random::categorical_with(&(logits / temperature), key)
}

#[test]
fn a_decoder_reads_one_token_at_a_time() -> Result<(), Box<dyn std::error::Error>> {
    random::seed(3);
    let (vocab, dim, depth) = (64, 32, 2);
    let mut model = Decoder::new(vocab, dim, 4, depth);
    model.set_dtype(Dtype::Float32);
    mlx::eval(model.parameters())?;
    let total: usize = model
        .parameters()
        .flatten()
        .iter()
        .map(|(_, w)| w.size().unwrap())
        .sum();
    println!("{total} parameters");

    let tokens = random::randint(0, vocab, [2, 7]);
    let mask = nn::MultiHeadAttention::create_additive_causal_mask(7);
    let mut caches: Vec<_> = (0..depth).map(|_| KvCache::new()).collect();
    let logits = model.forward(&tokens, Some(&mask), &mut caches)?;
    println!("{:?} {:?}", logits.shape()?, logits.dtype()?);

    // The same one token at a time.
    let mut caches: Vec<_> = (0..depth).map(|_| KvCache::new()).collect();
    let mut parts = Vec::new();
    for i in 0..7 {
        parts.push(model.forward(&tokens.index((.., i..i + 1)), None, &mut caches)?);
    }
    let again = mlx::concatenate(&parts, 1);
    assert!(mlx::allclose_with(&logits, &again, (1e-4, 1e-4)).item::<bool>()?);

    let causal = mlx::tril(mlx::ones([7, 7])).astype(Dtype::Bool);
    let lengths = array!([7, 4]);
    let both = mlx::logical_and(
        &causal,
        &padding_mask(&lengths, 7).index(s![.., new, new, ..]),
    );
    let mut caches: Vec<_> = (0..depth).map(|_| KvCache::new()).collect();
    let masked = model.forward(&tokens, Some(&both), &mut caches)?;
    println!("{:.4}", (masked - &logits).abs().max(()).item::<f32>()?);

    let mut caches: Vec<_> = (0..depth).map(|_| KvCache::new()).collect();
    let mut key = random::key(0);
    let mut token = tokens.index((0..1, -1..));
    let mut text: Vec<u32> = vec![];
    for _ in 0..10 {
        let (next, k) = random::split(&key);
        key = next;
        let logits = model.forward(&token, None, &mut caches[..])?;
        let id = sample(&logits.index((.., -1, ..)), 0.8, 5, &k);
        mlx::async_eval(&id)?;
        text.push(id.item()?);
        token = id.reshape([1, 1]);
    }
    assert!(text.len() == 10 && text.iter().all(|&id| id < 64));
    Ok(())
}
