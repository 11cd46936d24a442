// minidxc LIBDXCOMPILER: Microsoft's DXC over many files. stdin: a file and its entry point a line; stdout: for each its
// file, `ok` or `refused`, and the compiler's first words, between tabs.
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>
#include "dxcapi.h"

static std::wstring wide(const std::string &text) { return std::wstring(text.begin(), text.end()); }

int main(int, char **args) {
  void *library = dlopen(args[1], RTLD_NOW);
  if (!library) { std::cerr << dlerror() << '\n'; return 2; }
  auto create = (DxcCreateInstanceProc)dlsym(library, "DxcCreateInstance");
  IDxcCompiler3 *compiler = nullptr;
  if (!create || create(CLSID_DxcCompiler, __uuidof(IDxcCompiler3), (void **)&compiler)) return 2;
  std::string file, entry;
  while (std::cin >> file >> entry) {
    std::ifstream in(file);
    std::stringstream read;
    read << in.rdbuf();
    std::string text = read.str();
    DxcBuffer source{text.data(), text.size(), DXC_CP_UTF8};
    std::vector<std::wstring> words{wide(file), L"-E", wide(entry), L"-T", L"cs_6_6", L"-HV", L"2018", L"-no-warnings",
                                    L"-enable-16bit-types"};
    std::vector<LPCWSTR> options;
    for (auto &word : words) options.push_back(word.c_str());
    IDxcResult *result = nullptr;
    HRESULT status = compiler->Compile(&source, options.data(), options.size(), nullptr, __uuidof(IDxcResult), (void **)&result);
    std::string said;
    if (!status) {
      result->GetStatus(&status);
      IDxcBlobUtf8 *errors = nullptr;
      result->GetOutput(DXC_OUT_ERRORS, __uuidof(IDxcBlobUtf8), (void **)&errors, nullptr);
      if (errors && errors->GetStringLength()) {
        said = errors->GetStringPointer();
        auto at = said.find("error");
        said = said.substr(at == std::string::npos ? 0 : at, 300);
      }
      if (errors) errors->Release();
    }
    if (result) result->Release();
    for (auto &c : said) if (c == '\n' || c == '\t') c = ' ';
    std::cout << file << '\t' << (status ? "refused" : "ok") << '\t' << said << std::endl;
  }
}
