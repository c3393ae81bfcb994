"""Writes einsum_path.jsonl: the paths that Python MLX finds. Run: python make_einsum_path.py"""
import json
import pathlib
import random

import mlx.core as mx
random.seed(3)
cases=[]
fixed=["ij,jk->ik","ij,jk,kl->il","ij,jk,kl","i,i","ii","ii->i","ij->ji","i,j,k->ijk","abc,cd,de,ef->abf","bij,bjk->bik","...ij,...jk->...ik","...i,...i","a...,b...->ab...","ab,bc,ca->","abcd,dc,ba->","i,ij,j->","ij,ij,ij->ij","a,a,a,a","ij , jk -> ik","ea,fb,abcd,gc,hd->efgh"]
letters="abcdef"
while len(fixed)<40:
    n=random.randint(2,5)
    terms=["".join(random.sample(letters,random.randint(1,4))) for _ in range(n)]
    used=sorted(set("".join(terms)))
    out="".join(random.sample(used,random.randint(0,min(3,len(used)))))
    fixed.append(",".join(terms)+random.choice(["->"+out,"->"+out,""]))
for sub in fixed:
    sizes={c:random.choice([2,3,4,5,7,10]) for c in "abcdefghijklmnopqrstuvwxyz"}
    lhs=sub.replace(" ","").split("->")[0].split(",")
    shapes=[]
    for t in lhs:
        sh=[]
        k=0
        while k<len(t):
            if t[k]=='.': sh+= [6,8]; k+=3
            else: sh.append(sizes[t[k]]); k+=1
        shapes.append(sh)
    path,text=mx.einsum_path(sub,*[mx.zeros(s) for s in shapes])
    cases.append(dict(subscripts=sub,shapes=shapes,path=[list(p) for p in path],text=text))
pathlib.Path(__file__).with_name("einsum_path.jsonl").write_text("\n".join(json.dumps(c) for c in cases)+"\n")
