/* The engine as bytes, for the code that puts it into other processes. */
    .section .rodata
    .balign 64
    .globl godwit_engine_blob
    .globl godwit_engine_blob_end
godwit_engine_blob:
    .incbin ENGINE_BLOB
godwit_engine_blob_end:
    .section .note.GNU-stack,"",@progbits
